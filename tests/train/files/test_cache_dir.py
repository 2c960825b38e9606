"""Where what is made once on a machine lies."""

from train.files.cache_dir import cache_dir


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("RETHINK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "rethink"
    monkeypatch.setenv("RETHINK_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("RETHINK_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "rethink"
