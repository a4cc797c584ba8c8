# SPDX-License-Identifier: Apache-2.0
"""Are the identifiers random UUIDs of version 4?"""

import uuid

import pytest

from taskflow.utils import uuids


def test_an_identifier_is_the_canonical_text_of_a_version_4_uuid():
    for text in [uuids.generate_uuid() for _ in range(200)]:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_many_identifiers_are_that_many_different_ones(n):
    many = uuids.generate_uuids(n)
    assert len(many) == len(set(many)) == n
    assert all(str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4 for text in many)


def test_all_bits_that_are_not_fixed_are_random():
    ones = zeros = 0
    for text in uuids.generate_uuids(500):
        ones |= uuid.UUID(text).int
        zeros |= ~uuid.UUID(text).int & (1 << 128) - 1
    fixed = (0xF << 76) | (0b11 << 62)
    assert (ones & zeros) == (1 << 128) - 1 - fixed
