"""Workers look for modules where the driver does, apart from what every Python finds by itself."""

import os
import sys
import sysconfig

from rlagent.launch.ray_cluster import python_path


def test_a_project_below_the_prefix_of_python_is_kept(monkeypatch, tmp_path):
    # As with Debian's Python, whose prefix is /usr, and a project in /usr/src/app.
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    project = tmp_path / "src" / "app"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    library = sysconfig.get_path("stdlib")
    extensions = sysconfig.get_config_var("DESTSHARED")
    site = "/usr/lib/python3/dist-packages"
    monkeypatch.setattr(sys, "path", ["", "/home/agents", library, extensions, site])
    assert python_path().split(os.pathsep) == [str(project), "/home/agents"]


def test_this_very_python_hands_on_nothing_of_its_own():
    handed_on = python_path().split(os.pathsep)
    assert os.getcwd() in handed_on
    assert not [entry for entry in handed_on if entry.startswith(sys.base_prefix + "/lib")]
