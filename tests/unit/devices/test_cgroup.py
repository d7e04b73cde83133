"""Memory limits of cgroups, read from trees like those that real systems mount."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autobatch.devices.cgroup import read_cgroup_limits

GIB = 2**30


def _figures(limits: Any) -> list[tuple[int, int]]:
    return [(limit.limit_bytes, limit.used_bytes) for limit in limits]


def test_version_2_has_the_processes_own_limit(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "sys/fs/cgroup")
    kernel.join("0::/app")
    limit_v2(mount / "app", 4 * GIB, GIB)
    (limit,) = read_cgroup_limits(kernel.proc)
    assert (limit.path, limit.limit_bytes, limit.used_bytes) == (mount / "app", 4 * GIB, GIB)


def test_version_2_has_every_ancestors_limit_innermost_first(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "sys/fs/cgroup")
    kernel.join("0::/user.slice/user-1000.slice/session.scope")
    limit_v2(mount / "user.slice/user-1000.slice/session.scope", 8 * GIB, 1)
    limit_v2(mount / "user.slice/user-1000.slice", 2 * GIB, 2)
    limit_v2(mount / "user.slice", 4 * GIB, 3)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(8 * GIB, 1), (2 * GIB, 2), (4 * GIB, 3)]


def test_max_means_no_limit(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "sys/fs/cgroup")
    kernel.join("0::/a/b")
    limit_v2(mount / "a/b", "max", GIB)
    limit_v2(mount / "a", 3 * GIB, GIB)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(3 * GIB, GIB)]


def test_version_2_takes_inactive_page_cache_off_the_use(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "sys/fs/cgroup")
    kernel.join("0::/app")
    limit_v2(mount / "app", 4 * GIB, 3 * GIB, cache=2 * GIB)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(4 * GIB, GIB)]


def test_more_page_cache_than_use_is_no_negative_use(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "sys/fs/cgroup")
    kernel.join("0::/app")
    limit_v2(mount / "app", 4 * GIB, 100, cache=200)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(4 * GIB, 0)]


def test_version_2_has_the_limit_that_slows_down_beside_the_one_that_kills(
    kernel: Any, limit_v2: Any
) -> None:
    mount = kernel.mount("cgroup2", "sys/fs/cgroup")
    kernel.join("0::/app")
    limit_v2(mount / "app", 4 * GIB, 2 * GIB, cache=GIB)
    (mount / "app" / "memory.high").write_text(f"{3 * GIB}\n")
    limits = read_cgroup_limits(kernel.proc)
    assert [limit.name for limit in limits] == ["memory.max", "memory.high"]
    assert _figures(limits) == [(4 * GIB, GIB), (3 * GIB, GIB)]


def test_the_limit_that_slows_down_can_be_the_only_one(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "sys/fs/cgroup")
    kernel.join("0::/app")
    limit_v2(mount / "app", "max", GIB)
    (mount / "app" / "memory.high").write_text(f"{3 * GIB}\n")
    (limit,) = read_cgroup_limits(kernel.proc)
    assert (limit.name, limit.limit_bytes) == ("memory.high", 3 * GIB)
    (mount / "app" / "memory.high").write_text("max\n")
    assert read_cgroup_limits(kernel.proc) == ()


def test_version_1_has_the_memory_controllers_limits(kernel: Any, limit_v1: Any) -> None:
    mount = kernel.mount("cgroup", "sys/fs/cgroup/memory", options="rw,memory")
    kernel.mount("cgroup", "sys/fs/cgroup/cpu", options="rw,cpu,cpuacct")
    kernel.join("5:memory:/batch/job7", "4:cpu,cpuacct:/elsewhere", "1:name=systemd:/x")
    limit_v1(mount / "batch/job7", 2 * GIB, GIB)
    limit_v1(mount / "batch", 16 * GIB, 5 * GIB)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(2 * GIB, GIB), (16 * GIB, 5 * GIB)]


def test_version_1_takes_the_page_cache_of_the_whole_subtree_off(
    kernel: Any, limit_v1: Any
) -> None:
    mount = kernel.mount("cgroup", "memory", options="rw,memory")
    kernel.join("5:memory:/job")
    limit_v1(mount / "job", 2 * GIB, GIB, cache=GIB // 4)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(2 * GIB, GIB - GIB // 4)]


def test_version_1s_largest_number_means_no_limit(kernel: Any, limit_v1: Any) -> None:
    mount = kernel.mount("cgroup", "memory", options="rw,memory")
    kernel.join("5:memory:/job")
    limit_v1(mount / "job", 9_223_372_036_854_771_712, GIB)
    assert read_cgroup_limits(kernel.proc) == ()


def test_a_controller_that_only_shares_a_name_is_not_read(kernel: Any, limit_v1: Any) -> None:
    mount = kernel.mount("cgroup", "memory", options="rw,memory")
    kernel.join("5:memory_recursiveprot:/job", "3:cpu:/job")
    limit_v1(mount / "job", GIB, 1)
    assert read_cgroup_limits(kernel.proc) == ()


def test_a_hybrid_system_has_the_limits_of_version_1(
    kernel: Any, limit_v1: Any, limit_v2: Any
) -> None:
    kernel.mount("cgroup2", "unified").joinpath("app").mkdir()
    memory = kernel.mount("cgroup", "memory", options="rw,memory")
    kernel.join("5:memory:/app", "0::/app")
    limit_v1(memory / "app", GIB, 7)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(GIB, 7)]


@pytest.mark.parametrize("version", ["cgroup2", "cgroup"])
def test_a_container_sees_its_own_subtree_as_the_mounts_root(
    version: str, kernel: Any, limit_v1: Any, limit_v2: Any
) -> None:
    path = "/docker/0123abcd"
    mount = kernel.mount(version, "cg", root=path, options="rw,memory")
    if version == "cgroup2":
        kernel.join(f"0::{path}/inner")
        limit_v2(mount, 2 * GIB, 1)
        limit_v2(mount / "inner", GIB, 1)
    else:
        kernel.join(f"5:memory:{path}/inner")
        limit_v1(mount, 2 * GIB, 1)
        limit_v1(mount / "inner", GIB, 1)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(GIB, 1), (2 * GIB, 1)]


def test_a_container_with_a_namespace_is_at_the_root_of_its_mount(
    kernel: Any, limit_v2: Any
) -> None:
    mount = kernel.mount("cgroup2", "cg", root="/")
    kernel.join("0::/")
    limit_v2(mount, 2 * GIB, 5)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(2 * GIB, 5)]


def test_a_path_outside_the_mount_still_gives_the_mounts_own_limit(
    kernel: Any, limit_v1: Any
) -> None:
    # Docker on version 1 without a cgroup namespace: the path is the host's, the mount a subtree.
    mount = kernel.mount("cgroup", "memory", root="/docker/0123", options="rw,memory")
    kernel.join("5:memory:/kubepods/pod9/0123")
    limit_v1(mount, GIB, 3)
    assert _figures(read_cgroup_limits(kernel.proc)) == [(GIB, 3)]


def test_a_limit_whose_use_cannot_be_read_is_left_out(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "cg")
    kernel.join("0::/a/b")
    limit_v2(mount / "a/b", GIB, 1)
    limit_v2(mount / "a", 2 * GIB, 1)
    (mount / "a/b/memory.current").unlink()
    (mount / "a/b/memory.current").mkdir()  # reading a folder fails, for root too
    assert _figures(read_cgroup_limits(kernel.proc)) == [(2 * GIB, 1)]


def test_a_limit_that_is_no_number_is_left_out(kernel: Any, limit_v2: Any) -> None:
    mount = kernel.mount("cgroup2", "cg")
    kernel.join("0::/a")
    limit_v2(mount / "a", "", 1)
    assert read_cgroup_limits(kernel.proc) == ()


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert read_cgroup_limits(tmp_path / "no such process") == ()


def test_this_processes_own_limits_can_be_read() -> None:
    for limit in read_cgroup_limits():
        assert limit.path.is_dir()
        assert limit.limit_bytes > 0
        assert limit.used_bytes >= 0
