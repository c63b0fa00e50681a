"""Which values of a namespace are secret."""

from __future__ import annotations

import base64
import gzip
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ephemeral_ns.rules.known_secrets import named_values, release_of, secret_values


def test_values_of_secrets():
    def encoded(text):
        return base64.b64encode(text.encode()).decode()

    docker = json.dumps({"auths": {"registry.test": {"password": "pull-secret-1", "auth": "bWU6cHVsbC1zZWNyZXQtMQ=="}}})
    found = secret_values(
        [
            {"metadata": {"name": "db"}, "data": {"password": encoded("hunter22"), "blob": "/+8="}},
            {"metadata": {"name": "pull"}, "data": {".dockerconfigjson": encoded(docker)}},
            {"metadata": {"name": "h"}, "type": "helm.sh/release.v1", "data": {"release": encoded("packed-release")}},
            {
                "metadata": {"name": "sa"},
                "type": "kubernetes.io/service-account-token",
                "data": {"namespace": encoded("shop"), "token": encoded("a-token-of-it")},
            },
        ]
    )
    assert {"hunter22", "/+8=", docker, "pull-secret-1", "a-token-of-it"} <= set(found)
    assert not {"shop", "packed-release"} & set(found)


NAMED = [
    (
        {"env": [{"name": "API_KEY", "value": "abcd"}, {"name": "TOKEN_URL", "value": "x://y"}]},
        {"abcd": "variable API_KEY"},
    ),
    ({"data": {"DB_PASSWORD": "abcd", "PORT": "8080"}}, {"abcd": "value of DB_PASSWORD"}),
    ({"values": {"postgres": {"adminPassword": "abcd"}}}, {"abcd": "value of adminPassword"}),
    ({"args": ["--token", "abcd", "--port=80"]}, {"abcd": "argument --token"}),
    ({"command": ["app", "--db-password=abcd"]}, {"abcd": "argument --db-password"}),
    ({"args": ["--token", "--verbose"]}, {}),
    ({"args": ["--token", "$(TOKEN)"]}, {}),
    ({"args": ["--token"]}, {}),
    ({"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]}, {}),
    ({"password": "***"}, {}),
    ({"password": "abc"}, {}),  # too short to be removed from everywhere; under its name it is
    ({"existingSecret": "shop-db"}, {}),
    (None, {}),
]


@pytest.mark.parametrize(("data", "expected"), NAMED)
def test_values_whose_names_say_it(data, expected):
    assert named_values([data]) == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_data_of_any_shape_is_no_error(data):
    named_values([data])
    secret_values([{"data": {"a": "x"}, "metadata": None}])


@given(st.dictionaries(st.text(string.ascii_letters, min_size=1), st.text(max_size=30), max_size=5))
def test_every_value_of_a_secret_is_known(values):
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    assert set(secret_values([{"metadata": {"name": "db"}, "data": data}])) >= set(values.values())


def test_releases():
    release = {"name": "shop", "version": 2, "info": {"status": "failed"}, "config": {"replicas": 2}, "manifest": "big"}
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    told = release_of({"type": "helm.sh/release.v1", "data": {"release": packed}})
    assert told is not None
    assert (told["name"], told["status"], told["values"]) == ("shop", "failed", {"replicas": 2})
    assert "manifest" not in told


@pytest.mark.parametrize("data", [{}, {"release": "?"}, {"release": "AAAA"}])
def test_a_damaged_release_is_none(data):
    assert release_of({"type": "helm.sh/release.v1", "data": data}) is None
