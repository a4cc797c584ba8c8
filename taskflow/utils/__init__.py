# SPDX-License-Identifier: Apache-2.0
"""Which small functions do the other modules share that depend on nothing but the standard library?"""
