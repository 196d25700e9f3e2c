"""Made-up homes: a table of a label, an integer and a positive number, of a known law."""

import numpy as np
import pandas as pd

COLUMNS = {"city": "category", "rooms": "integer", "price": (0, None)}
CITIES = np.array(["Bonn", "Kiel", "Ulm"], dtype=object)
SHARES, RATES = np.array([0.6, 0.3, 0.1]), np.array([2.0, 6.0, 10.0])
# Of flows that learn the law well enough: to be held against it, and to find outliers.
SMALL = {"hidden_layer_sizes": (32, 32), "max_blocks": 3, "max_iter": 200, "random_state": 0}
SMALLER = {"hidden_layer_sizes": (32, 32), "max_blocks": 2, "max_iter": 150, "random_state": 0}


def homes(n, seed):
    """A city, its rooms (Poisson), and a price (log-normal) that both decide."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, size=n, p=SHARES)
    rooms = rng.poisson(RATES[codes])
    price = np.exp(0.1 * rooms + 0.5 * rng.normal(size=n))
    return pd.DataFrame({"city": CITIES[codes], "rooms": rooms, "price": price})


def with_gaps(frame, share, seed):
    """The frame without a share of its values."""
    return frame.mask(np.random.default_rng(seed).random(frame.shape) < share)
