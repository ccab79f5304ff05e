"""The mutation score is counted from what mutmut prints, and nothing that survived is left out."""

import tomllib
from pathlib import Path

import mutation

RESULTS = """
    aiservice.limits.bucket.x_full__mutmut_1: killed
    aiservice.limits.bucket.x_full__mutmut_2: survived
    aiservice.limits.bucket.xǁStateǁlevel__mutmut_10: timeout
    aiservice.cache.key.x__pack__mutmut_3: no tests
"""
DIFF = """# aiservice.limits.bucket.x_refilled__mutmut_1: survived
--- aiservice/limits/bucket.py
+++ aiservice/limits/bucket.py
@@ -4,3 +4,3 @@
     kept
-    if stamp_us >= now_us:
+    if stamp_us > now_us:
         return
"""


def test_every_line_of_the_results_is_a_mutant_of_its_module() -> None:
    found = mutation.mutants_in(RESULTS)
    assert [(one.name.rpartition("__")[2], one.is_noticed) for one in found] == [
        ("mutmut_1", True),
        ("mutmut_2", False),
        ("mutmut_10", True),
        ("mutmut_3", False),
    ]
    assert [one.is_of("aiservice/limits/bucket.py") for one in found] == [True, True, True, False]


def test_the_score_is_the_part_that_was_noticed() -> None:
    found = mutation.mutants_in(RESULTS)
    assert mutation.score_percent(found) == 50.0
    assert mutation.score_percent(found[:1]) == 100.0
    assert mutation.score_percent([]) == 0.0


def test_a_survivor_is_shown_by_its_changed_line_and_named_where_no_test_can_notice_it() -> None:
    before, after = mutation.change_in(DIFF)
    assert (before, after) == ("    if stamp_us >= now_us:", "    if stamp_us > now_us:")
    assert mutation.excuse_for(after) == "at the stamp itself no time has passed, and both branches say the same"
    assert mutation.excuse_for(before) is None


def test_the_copys_settings_are_the_projects_with_mutmuts() -> None:
    root = Path(mutation.__file__).resolve().parents[1]
    text = mutation.config_of((root / "pyproject.toml").read_text(encoding="utf-8"), ["aiservice/limits/bucket.py"])
    tool = tomllib.loads(text)["tool"]
    assert tool["mutmut"]["only_mutate"] == ["aiservice/limits/bucket.py"]
    assert tool["mutmut"]["pytest_add_cli_args_test_selection"] == ["tests/unit/limits/test_bucket.py"]
    assert tool["pytest"]["ini_options"]["asyncio_mode"] == "auto"


def test_every_module_and_test_that_is_named_is_there() -> None:
    for module, tests in mutation.MODULES.items():
        assert all((mutation.ROOT / name).is_file() for name in (module, *tests))
