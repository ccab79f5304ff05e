import json
import re

import pytest

from tests.unit.cli.commands import run

KEY = re.compile(r"vpn_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\n")
ADMIN_KEY = re.compile(r"vpnadm_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\n")
CREATE = ("keys", "create", "--tenant", "acme", "--name", "ci")


def key_ids(data_dir) -> dict[str, str]:
    """key_id: state, as `keys list` shows them."""
    listed = run("keys", "list", data_dir=data_dir)
    assert listed.exit_code == 0
    return {
        line.split()[0]: "revoked" if "revoked" in line else "active"
        for line in listed.stdout.splitlines()
        if re.match(r" *[0-9a-f]{8}-", line)
    }


def test_a_new_key_is_alone_on_standard_output(tmp_path):
    made = run(*CREATE, "--tier", "pro", "--scope", "generate", "--quota", "5", data_dir=tmp_path)

    assert made.exit_code == 0
    assert KEY.fullmatch(made.stdout)
    assert "tenant acme, tier pro, scopes generate, expires" in made.stderr
    assert list(key_ids(tmp_path).values()) == ["active"]


def test_the_key_is_in_no_file(tmp_path):
    secret = run(*CREATE, data_dir=tmp_path).stdout.strip().rpartition("_")[2]

    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_admin_key_has_its_own_prefix(tmp_path):
    assert ADMIN_KEY.fullmatch(run("keys", "create-admin", data_dir=tmp_path).stdout)


def test_a_field_out_of_range_is_one_line(tmp_path):
    refused = run(*CREATE, "--days", "0", data_dir=tmp_path)

    assert refused.exit_code == 1
    assert refused.stderr == "Error: expires_in_days takes a whole number from 1 to 3650.\n"


def test_revoke_switches_a_key_off(tmp_path):
    run(*CREATE, data_dir=tmp_path)
    [key_id] = key_ids(tmp_path)

    assert run("keys", "revoke", key_id, data_dir=tmp_path).exit_code == 0
    assert key_ids(tmp_path) == {key_id: "revoked"}


def test_revoking_an_unknown_key_is_refused(tmp_path):
    refused = run("keys", "revoke", "00000000-0000-7000-8000-000000000000", data_dir=tmp_path)

    assert refused.exit_code == 1
    assert refused.stderr == "Error: There is no key with this id.\n"


def test_rotate_gives_another_key(tmp_path):
    first = run(*CREATE, data_dir=tmp_path).stdout
    [key_id] = key_ids(tmp_path)
    second = run("keys", "rotate", key_id, "--overlap", "60", data_dir=tmp_path).stdout

    assert KEY.fullmatch(second)
    assert second != first
    assert len(key_ids(tmp_path)) == 2


def test_bootstrap_makes_the_first_keys_once(tmp_path):
    first = json.loads(run("keys", "bootstrap", data_dir=tmp_path).stdout)

    assert KEY.fullmatch(first["api_key"] + "\n")
    assert ADMIN_KEY.fullmatch(first["admin_key"] + "\n")
    assert json.loads(run("keys", "bootstrap", data_dir=tmp_path).stdout) is None


def test_audit_proves_a_key_that_is_handed_in(tmp_path):
    key = run(*CREATE, data_dir=tmp_path).stdout

    clean = run("keys", "audit", "--known", "-", data_dir=tmp_path, stdin=key)
    assert (clean.exit_code, clean.stdout) == (0, "")


@pytest.mark.parametrize("change", ["pepper", "key"])
def test_audit_finds_what_does_not_match(tmp_path, change):
    key = run(*CREATE, data_dir=tmp_path).stdout
    if change == "pepper":
        found = run("keys", "audit", "--known", "-", data_dir=tmp_path, stdin=key, KEY_PEPPER="another " * 8)
    else:
        found = run("keys", "audit", "--known", "-", data_dir=tmp_path, stdin=key[:-2])

    assert found.exit_code == 1
    assert ("another pepper" if change == "pepper" else "malformed") in found.stdout
