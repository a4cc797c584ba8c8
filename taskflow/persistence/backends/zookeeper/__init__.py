# SPDX-License-Identifier: Apache-2.0
"""What the ZooKeeper backend is made of."""
