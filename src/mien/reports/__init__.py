"""What all reports share: how plots are drawn, and pages of HTML that need nothing else."""
