import sys
from pathlib import Path

# The small recipes that the tests of this folder share lie beside them; tests are no package.
sys.path.insert(0, str(Path(__file__).parent))
