import pytest

from aiservice.core.settings import env_name, table
from aiservice.server.listener import bind
from tests.unit.cli.commands import run


def test_a_wrong_setting_is_one_line_with_name_value_and_range(tmp_path):
    refused = run("serve", data_dir=tmp_path, WORKERS="many")

    assert refused.exit_code == 2
    assert refused.stderr == "Error: WORKERS is 'many'; it takes a whole number from 1 to 64.\n"
    assert refused.stdout == ""


def test_production_without_an_admin_key_is_refused(tmp_path):
    refused = run("serve", data_dir=tmp_path, ENVIRONMENT="production")

    assert refused.exit_code == 2
    assert refused.stderr.startswith("Error: ADMIN_KEY is missing or short;")
    assert refused.stderr.count("\n") == 1


def test_a_taken_port_is_one_line_and_the_option_counts_before_the_setting(tmp_path):
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        refused = run("serve", "--port", str(port), data_dir=tmp_path, PORT="0")

    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"Error: Port {port} on 127.0.0.1 is in use;")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--port", "65536"), ("--workers", "0"), ("--workers", "x")])
def test_options_have_the_settings_bounds(tmp_path, arguments):
    assert run("serve", *arguments, data_dir=tmp_path).exit_code == 2


def test_help_lists_every_setting_and_names_the_page(tmp_path):
    printed = run("serve", "--help", data_dir=tmp_path).stdout

    assert "docs/reference/settings.md" in printed
    for _, _, field in table():
        assert f"\n  {env_name(field)} " in printed
