# SPDX-License-Identifier: Apache-2.0
"""What the SQLAlchemy backend is made of: tables, statements, sessions and migrations."""
