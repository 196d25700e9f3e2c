"""Probabilities of the categories in a table, given its conditions."""

from sklearn_jko.columns.categories import CategoricalChain
from sklearn_jko.columns.input_codes import InputCodes

__all__ = ["CategoryModel"]


class CategoryModel:
    """P(categories | given columns) of the columns of encoded tables.

    Parameters
    ----------
    roles : Roles
        See `sklearn_jko.columns.roles`.
    """

    def __init__(self, roles):
        self.given, self.categories = roles.given, roles.modelled_categories
        self.n_categories = roles.n_labels_of(self.categories)
        self.codes, self.chain = InputCodes(roles.n_labels_of(self.given)), CategoricalChain()
        self.parts = [self.codes, self.chain]

    def fit(self, table):
        """Estimate the probabilities from an encoded table (n, d)."""
        given = table[:, self.given]
        inputs = self.codes.fit(given).transform(given)
        self.chain.fit(table[:, self.categories], self.n_categories, inputs)
        return self

    def check(self):
        """Raise ValueError unless what was learned is that of such tables."""
        self.codes.check()
        self.chain.check(len(self.categories))
        found = self.chain.n_categories_.tolist(), self.chain.n_inputs_
        if found != (self.n_categories.tolist(), self.codes.n_codes):
            raise ValueError(f"n_categories_, n_inputs_ = {found} are of another table")

    def log_prob(self, table):
        """Log-probability (n,), in nats, of the categories in each row."""
        inputs = self.codes.transform(table[:, self.given])
        return self.chain.log_prob(table[:, self.categories], inputs)

    def draw(self, table, seed):
        """Fill in categories, in place, for what the rows are given."""
        inputs = self.codes.transform(table[:, self.given])
        table[:, self.categories] = self.chain.sample(len(table), seed, inputs)
