# SPDX-License-Identifier: Apache-2.0
"""How is one atom started and its outcome recorded, by whoever has no engine at hand?"""
