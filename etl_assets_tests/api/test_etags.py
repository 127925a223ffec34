"""Entity tags: equal for the same rows, asked for in the same way."""

import pytest
from fastapi import Request

from etl_assets.api.etags import etag, has_it

ASKED = {"from": "2026-11-20", "region": ["NSW1"]}
TAG = etag("v1", ASKED, "json")


def request(*sent: str) -> Request:
    return Request({"type": "http", "headers": [(b"if-none-match", value.encode()) for value in sent]})


def test_a_tag_is_weak_and_quoted():
    assert TAG.startswith('W/"')
    assert TAG.endswith('"')
    assert len(TAG) == 36


def test_the_same_is_tagged_the_same_in_whatever_order_it_was_asked():
    assert etag("v1", dict(reversed(ASKED.items())), "json") == TAG


@pytest.mark.parametrize(
    "other",
    [("v2", ASKED, "json"), ("v1", {**ASKED, "region": ["NSW1", "SA1"]}, "json"), ("v1", ASKED, "csv")],
    ids=["other data", "other question", "other format"],
)
def test_what_differs_is_tagged_differently(other):
    assert etag(*other) != TAG


@pytest.mark.parametrize("sent", [TAG, TAG.removeprefix("W/"), f'"other", {TAG}', "*"])
def test_a_client_that_names_the_tag_has_it(sent):
    assert has_it(request(sent), TAG)


@pytest.mark.parametrize("sent", ["", '"other"', TAG.replace('"', "")])
def test_a_client_that_names_another_has_it_not(sent):
    assert not has_it(request(sent), TAG)


def test_a_client_that_names_none_has_it_not():
    assert not has_it(request(), TAG)


def test_tags_may_come_in_several_headers():
    assert has_it(request('"other"', TAG), TAG)
