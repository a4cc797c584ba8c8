# SPDX-License-Identifier: Apache-2.0
"""Tests that packages which extend the library run on what they bring."""
