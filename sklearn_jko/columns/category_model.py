"""Probabilities of some categories in a table, given other columns."""

from sklearn_jko.columns.categories import CategoricalChain
from sklearn_jko.columns.input_codes import InputCodes

__all__ = ["CategoryModel"]


class CategoryModel:
    """P(categories | given columns) for encoded tables.

    Parameters
    ----------
    given, columns : ndarrays of int
        Indices of the columns that are given, and of the categories.
    n_labels : ndarray of shape (d,), int
        How many labels each column has; 0 for a column of numbers.
    """

    def __init__(self, given, columns, n_labels):
        self.given, self.columns = given, columns
        self.n_categories = n_labels[columns]
        self.codes, self.chain = InputCodes(n_labels[given]), CategoricalChain()
        self.parts = [self.codes, self.chain]

    @classmethod
    def of_roles(cls, roles):
        """The model of the categories that are not given by these `sklearn_jko.columns.roles`."""
        n_labels = roles.n_labels_of(range(len(roles.columns)))
        return cls(roles.given, roles.modelled_categories, n_labels)

    def fit(self, table):
        """Estimate the probabilities from an encoded table (n, d)."""
        given = table[:, self.given]
        inputs = self.codes.fit(given).transform(given)
        self.chain.fit(table[:, self.columns], self.n_categories, inputs)
        return self

    def check(self):
        """Raise ValueError unless what was learned fits such tables."""
        self.codes.check()
        self.chain.check(len(self.columns))
        found = self.chain.n_categories_.tolist(), self.chain.n_inputs_
        if found != (self.n_categories.tolist(), self.codes.n_codes):
            raise ValueError(f"n_categories_, n_inputs_ = {found} are of another table")

    def log_prob(self, table):
        """Log-probability (n,), in nats, of the categories in each row."""
        inputs = self.codes.transform(table[:, self.given])
        return self.chain.log_prob(table[:, self.columns], inputs)

    def log_prob_of_each(self, table):
        """Log-probability (n, K), in nats, of each label of the first category."""
        return self.chain.log_prob_of_each(self.codes.transform(table[:, self.given]))

    def draw(self, table, seed):
        """Fill in categories, in place, for what the rows are given."""
        inputs = self.codes.transform(table[:, self.given])
        table[:, self.columns] = self.chain.sample(len(table), seed, inputs)
