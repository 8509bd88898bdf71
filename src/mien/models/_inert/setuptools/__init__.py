"""An inert stand-in for setuptools, so that fetching a source package executes nothing of it.

Neither pip nor uv hands out a source package without asking its build backend for metadata, which runs the
package's setup.py. `mien.models._package` puts this folder first on the PYTHONPATH of the installer's
processes: they find this backend instead, which answers from two environment variables and never looks at
setup.py. It also saves the fetching of the real setuptools. Nothing else may import it.
"""
