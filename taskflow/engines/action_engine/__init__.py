# SPDX-License-Identifier: Apache-2.0
"""The engine that runs atoms on this machine."""
