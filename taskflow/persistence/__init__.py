# SPDX-License-Identifier: Apache-2.0
"""Where the records of flows live: the models, the backend interface and the backends."""
