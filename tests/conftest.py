# SPDX-License-Identifier: Apache-2.0
"""Which settings do all tests share?"""

import os

import hypothesis

# No deadlines: a test machine that is busy with something else must not turn a slow example into a failure.
# In CI the examples are the same in every run, so that a red run is about the change and nothing else.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100, print_blob=True)
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
