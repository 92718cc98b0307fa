#!/usr/bin/env bash
# Makes .venv with everything Silver needs, on a machine with Debian and Python 3.11. Run through `make setup`.
# uv where it can be had (half a minute), else pip (three).
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

"$python" - <<'PY' || { echo "Silver needs Python 3.11 or 3.12: set PYTHON=/path/to/python3.11" >&2; exit 2; }
import sys
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PY

if [ ! -x .venv/bin/python ]; then
    # Debian splits ensurepip off into python3-venv; virtualenv needs neither it nor root.
    "$python" -m venv .venv 2>/dev/null || { rm -rf .venv; "$python" -m pip install -q virtualenv && "$python" -m virtualenv -q .venv; }
fi
.venv/bin/python -m pip install -q --disable-pip-version-check uv || true

# pip's configured places (a mirror, a folder of wheels) hold for uv too.
setting() { .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }
if [ -x .venv/bin/uv ]; then
    links="${PIP_FIND_LINKS:-$(setting find-links)}"
    [ -z "$links" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-${links// /,}}"
    index="${PIP_INDEX_URL:-$(setting index-url)}"
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    cert="${PIP_CERT:-$(setting cert)}"
    [ -z "$cert" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"
    install() { .venv/bin/uv pip install -q --python .venv/bin/python --index-strategy unsafe-best-match "$@"; }
else
    install() { .venv/bin/python -m pip install -q --disable-pip-version-check "$@"; }
fi

install -c constraints.txt -e '.[whisperx,signals,dev]'
# whisperx pins torch 2.8 but runs with the torch of constraints.txt; of Resemblyzer only the weights are read.
install -c constraints.txt --no-deps whisperx Resemblyzer

# whisperx calls the ffmpeg program when it is handed a file: use the one that imageio-ffmpeg ships.
if ! command -v ffmpeg >/dev/null; then
    ln -sf "$(.venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" .venv/bin/ffmpeg
fi
.venv/bin/python deploy/torchaudio_cpu/install.py
# pip compiles what it installs and uv does not: where Python is told not to do so itself, every worker would compile torch anew.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
    .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true  # templates that are no Python fail
fi
.venv/bin/python deploy/check_imports.py
touch .venv/.ready
