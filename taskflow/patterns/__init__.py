# SPDX-License-Identifier: Apache-2.0
"""In which order may the items of a flow run? Each module has one answer."""
