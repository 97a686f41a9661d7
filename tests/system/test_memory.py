import os
import subprocess
import sys

from ft_lightning.system.memory import peak_memory

_CODE = """
import sys
from ft_lightning.system.memory import peak_memory
before = peak_memory()["process"]
block = bytearray(int(sys.argv[1]))
del block
print(before, peak_memory()["process"])
"""


def test_the_peak_is_that_of_this_process_alone() -> None:
    block = bytearray(300 * 2**20)  # of the process that starts the other one
    assert peak_memory()["process"] > len(block)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", _CODE, str(100 * 2**20)], capture_output=True, env=env, check=True)
    before, after = map(int, found.stdout.split())
    assert before < 200 * 2**20
    assert 80 * 2**20 < after - before < 200 * 2**20
