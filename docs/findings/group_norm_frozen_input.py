"""torch group_norm: backward ends the process for a channels_last input that needs no gradient."""

import subprocess
import sys

CODE = """
import torch
x = torch.randn(3, 36, 8, 8).to(memory_format=torch.channels_last)
weight = torch.ones(36, requires_grad=True)
y = torch.nn.functional.group_norm(x, 9, weight, torch.zeros(36))
y.backward(torch.randn_like(y))
"""
computed = subprocess.run([sys.executable, "-c", CODE], capture_output=True).returncode
print("exit status of a process that trains weight alone (negative: the number of a signal):")
print(f"computed {computed}")
print(f"exact {0}")
assert computed < 0, "the process ends in peace here"
