# SPDX-License-Identifier: Apache-2.0
"""What does a task cost, beside the published TaskFlow 6.5 and beside the least that it could cost?"""
