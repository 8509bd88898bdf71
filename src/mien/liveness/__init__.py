"""Liveness: random challenges, judged on a stream of frames, before somebody is let in.

    challenge   what is asked, drawn anew each time
    observing   frames and what the analyzer says of them, to what is judged
    levels      how far each action is done, beside the person's own baseline
    guards      what must hold all the time: frames flow, one face, the same face
    loops       what is seen at rest does not come again, whatever noise is on it
    judge       the attempt as a state machine over time
    lockout     growing waits after failures
    agreement   who withdrew their consent, or whose time is over, is not recognised
    session     one attempt from first frame to report
    replays     frames of earlier attempts do not come again

What it stops and what it cannot: docs/liveness.md.
"""
