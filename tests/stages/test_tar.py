"""A tar has the bytes that Python's own module would write, and says where they are."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from stages.pack.tar import Tar

MEMBERS = [("a.flac", b"fLaC" * 1000), ("a.json", b"{}"), ("empty.txt", b""), ("n" * 100, bytes(512)), ("full.flac", b"\xff" * 10240)]


@pytest.mark.parametrize("count", range(len(MEMBERS) + 1))
def test_the_bytes_of_a_tar(count: int) -> None:
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in MEMBERS[:count]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    handle = io.BytesIO()
    tar = Tar(handle)
    places = [tar.add(name, data) for name, data in MEMBERS[:count]]
    digest = tar.close()
    written = handle.getvalue()
    assert written == expected.getvalue()
    assert digest == hashlib.sha256(written).hexdigest()
    assert tar.size == len(written)
    assert [written[offset : offset + size] for offset, size in places] == [data for _, data in MEMBERS[:count]]
