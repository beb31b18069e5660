"""``normcheck doctor``: what is installed, and what will be skipped for the lack of what."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

__all__ = ["command"]

_PARTS = (
    ("torch", "references, budgets and targets", "pip install torch"),
    ("numpy", "the generator of cases", "pip install numpy"),
    ("hypothesis", "cases beyond the fixed corpus", "pip install hypothesis"),
    ("jinja2", "HTML reports", "pip install 'normcheck[reports]'"),
    ("triton", "fused Triton kernels", "pip install 'normcheck[kernels]'"),
    ("jax", "targets written for JAX", "pip install jax"),
    ("pytest", "the pytest plugin", "pip install pytest"),
)


@click.command("doctor")
def command() -> int:
    """Say what is installed, which devices there are, and what cannot be judged without them."""
    import platform

    import normcheck

    click.echo(f"normcheck {normcheck.__version__}, Python {platform.python_version()}")
    missing = 0
    for name, purpose, cure in _PARTS:
        try:
            click.echo(f"  ✓ {name} {version(name)}: {purpose}")
        except PackageNotFoundError:
            required = name in ("torch", "numpy", "hypothesis")
            missing += required
            click.echo(f"  {'✗' if required else '-'} {name} is absent: no {purpose}; {cure}")
    if missing:
        return 5
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    click.echo(f"  ✓ cpu: {platform.machine()}, {capability}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            click.echo(f"  ✓ cuda:{index}: {torch.cuda.get_device_name(index)}")
    else:
        click.echo("  - cuda: torch sees no CUDA device; --device cuda would end with status 5")
    return 0
