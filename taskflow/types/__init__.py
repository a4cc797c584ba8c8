# SPDX-License-Identifier: Apache-2.0
"""Which small types do all parts of the library (and its users) share?"""
