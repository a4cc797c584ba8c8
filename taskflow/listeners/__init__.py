# SPDX-License-Identifier: Apache-2.0
"""Who can listen to an engine? Each module has one kind of listener."""
