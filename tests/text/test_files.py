import os
import stat

import pytest

from tf_einsum_grad.text.files import check_readable, check_writable, write_whole


def test_a_file_is_written_whole_or_what_was_there_stays(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_whole(path, "old é")
    assert path.read_text("utf-8") == "old é"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "half of it")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["report.json"]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x", "half")
    assert os.listdir(tmp_path) == []


def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "x", tmp_path / "link"
    before = os.umask(0o027)
    try:
        write_whole(path, "1")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    path.chmod(0o604)
    link.symlink_to(path)
    write_whole(link, "2")
    assert link.is_symlink() and path.read_text() == "2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_what_is_no_file_is_written_to():
    write_whole("/dev/null", "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_what_can_be_read_and_written(tmp_path):
    path = tmp_path / "x"
    check_writable(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        check_readable(path)
    path.write_text("")
    check_readable(path)
    check_writable(path)
    for check in (check_readable, check_writable):
        with pytest.raises(IsADirectoryError, match="it is a directory"):
            check(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        check_writable(tmp_path / "no" / "x")


def test_what_may_not(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may everything
    path = tmp_path / "x"
    path.write_text("")
    with pytest.raises(PermissionError, match="may not be read"):
        check_readable(path)
    with pytest.raises(PermissionError, match="may not be written to"):
        check_writable(path)
