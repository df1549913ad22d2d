# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Prints some megabytes that are neither random nor simple: a text of words that come and go."""

import random

random.seed(1)
words = ["".join(random.choices("etaoinshrdlu", k=random.randint(2, 9))) for _ in range(3000)]
for line in range(40000):
    print(line, *(words[int(random.paretovariate(0.5)) % len(words)] for _ in range(10)))
