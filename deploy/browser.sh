#!/usr/bin/env bash
# Chromium, for the tests of the pages: from Debian, where this may install it. Elsewhere those tests are skipped, and say so.
set -euo pipefail
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { timeout 600 apt-get update -qq && timeout 900 apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null; } ||
        echo "Chromium could not be installed: the tests of the pages will be skipped." >&2
else
    echo "No Chromium here (apt-get install chromium chromium-driver): the tests of the pages will be skipped." >&2
fi
