"""How far the training of a block is, and what comes next."""

from sklearn_jko.training.schedule import COOLDOWN_SHARE, LONG, Schedule, cooldown_start

__all__ = ["MAX_SOLVER_STEPS", "Pace"]

# Optimiser steps from one look at the clock to the next: processes of a group wait for it.
CLOCK_PERIOD = 5
MAX_SOLVER_STEPS = 32
# Solver steps that a block may take in all, for each of the optimiser steps it may take.
BUDGETED_SOLVER_STEPS = 2
# From the end that one trial cool-down assumes to that of the next.
TRIAL_GROWTH = 3


class Pace:
    """How far the training of one block is, in optimiser steps, and what they lead to.

    The learning rate warms up, stays, and cools down to zero. Where the held-out rows get worse on
    the plateau, a shorter cool-down starts from the best weights.

    With a long plateau, overfitting hides in the noise of the learning rate. Therefore long
    training makes a trial cool-down: as if it ended after 1,000 steps. Then it is evaluated, and
    returns to the weights of the plateau. It does so again as if it ended after 3,000 steps, 9,000
    and so on, while the held-out rows gain. From the first of these on they alone decide when
    training ends.

    Parameters
    ----------
    options : TrainingOptions
    n_rows, n_held_out : float
        Numbers of training and held-out rows.

    Attributes
    ----------
    n_iter : int
        Optimiser steps taken.
    solver_steps : int
        Steps of the solver in each of them.
    overfits : bool
        Whether the held-out rows got worse.
    """

    def __init__(self, options, n_rows, n_held_out):
        self.options, self.solver_steps = options, options.solver_steps
        batch_size = min(options.batch_size, n_rows)
        self.epoch, self.evaluation_cost = n_rows / batch_size, n_held_out // batch_size
        self.n_iter, self.n_solver_steps, self.last_evaluation, self.n_without_gain = 0, 0, 0, 0
        self.in_trial_cooldown, self.n_taken_back, self.trial_end = False, 0, LONG
        self.overfits = False
        self.schedule_until(options.max_iter)

    @property
    def finished(self):
        return self.n_iter >= self.end

    @property
    def evaluation_is_due(self):
        """Whether it is time for one, or a decision waits for it."""
        is_time = self.n_iter - self.last_evaluation >= self.schedule.period(self.n_iter)
        return is_time or self.trial_cooldown_ends or self.finished

    @property
    def clock_is_due(self):
        return self.n_iter % CLOCK_PERIOD == 0

    @property
    def is_stuck(self):
        """Whether nothing was gained for so long that training must be overfitting."""
        # No row is memorised before it was seen twice: losses before are due to the learning rate.
        has_seen_enough = self.n_iter > max(2 * self.schedule.warmup, 2 * self.epoch)
        has_no_patience = self.n_without_gain >= self.options.patience
        return has_no_patience and has_seen_enough and not self.finished

    @property
    def trial_cooldown_begins(self):
        if self.in_trial_cooldown or self.overfits:
            return False
        is_time = self.n_trained >= cooldown_start(self.trial_end)
        return is_time and 2 * self._end_of_trial <= self.schedule.end

    @property
    def trial_cooldown_ends(self):
        return self.in_trial_cooldown and self.n_iter >= self.cooldown_end

    @property
    def n_trained(self):
        """Optimiser steps, but for those of trial cool-downs, which were taken back."""
        return self.n_iter - self.n_taken_back

    def learning_rate(self, k):
        """That of optimiser step k = 0, 1, ..., lower where the block has become stiff."""
        # A high rate roughens the velocity, and every further step then needs a finer solver.
        stiffness = max(self.solver_steps / BUDGETED_SOLVER_STEPS, 1.0)
        warmup = (k + 1) / (self.schedule.warmup + 1)
        cooldown = (self.cooldown_end - k) / max(self.cooldown_end - self.cooldown_start, 1)
        return self.options.learning_rate / stiffness * min(warmup, cooldown, 1.0)

    def step(self):
        """Count an optimiser step."""
        self.n_iter += 1
        self.n_solver_steps += self.solver_steps

    def count_evaluation(self, is_better):
        """Count an evaluation of the weights, better or not; None where it says nothing of them."""
        self.last_evaluation = self.n_iter
        if is_better is not None:
            self.n_without_gain = 0 if is_better else self.n_without_gain + 1

    def refine_solver(self):
        """Double the solver steps, for fewer optimiser steps; end where there are no more."""
        if self.solver_steps == MAX_SOLVER_STEPS:
            self.end = self.n_iter
            return
        self.solver_steps *= 2
        if not self.overfits:
            self.schedule_until(self.end)

    def end_plateau(self):
        """Cool down because of overfitting, once, or end. Whether it was the first time."""
        self.n_without_gain = 0
        if self.overfits:
            self.end = self.n_iter
        elif self.n_iter < self.cooldown_start and self.n_taken_back == 0:
            self.overfits = True
            self.cooldown_start = self.n_iter
            length = max(int(COOLDOWN_SHARE * self.n_iter), self.schedule.period(self.n_iter))
            self.end = self.cooldown_end = self.n_iter + length
            return True
        return False

    def begin_trial_cooldown(self):
        """Cool down as if training were to end soon."""
        self.in_trial_cooldown, self.cooldown_start = True, self.n_iter
        self.cooldown_end = self.n_iter + self._end_of_trial - self.n_trained

    def end_trial_cooldown(self, goes_on):
        """Return to the plateau, or end where nothing was gained."""
        if not goes_on:
            self.overfits, self.end = True, self.n_iter
            return
        self.n_taken_back += self.n_iter - self.cooldown_start
        self.trial_end *= TRIAL_GROWTH
        self.in_trial_cooldown = False
        self.schedule_until(self.end)

    def keep_to(self, seconds, elapsed):
        """Set the end anew, so that training ends when its time does."""
        affordable = int(self.n_iter * seconds / max(elapsed, 1e-9))
        if elapsed >= seconds:
            self.end = self.n_iter
        elif not self.overfits:
            self.schedule_until(max(min(self.options.max_iter, affordable), self.n_iter + 1))

    def schedule_until(self, end):
        """End after so many optimiser steps, or fewer where each takes many solver steps."""
        options = self.options
        left = BUDGETED_SOLVER_STEPS * options.max_iter - self.n_solver_steps
        self.end = max(min(end, self.n_iter + left // self.solver_steps), self.n_iter, 1)
        n_steps = self.end - self.n_taken_back
        self.schedule = Schedule(
            n_steps, options.n_evaluations, options.patience, self.evaluation_cost
        )
        if self.in_trial_cooldown:
            self.cooldown_end = min(self.cooldown_end, self.end)
        else:
            self.cooldown_start = self.n_taken_back + self.schedule.cooldown_start
            self.cooldown_end = self.end

    @property
    def _end_of_trial(self):
        """Where training would end, if the cool-down began now."""
        return int(self.n_trained / (1 - COOLDOWN_SHARE))
