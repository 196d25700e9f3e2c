"""Progress of the training of a block, and what to do next."""

from sklearn_jko.training.schedule import COOLDOWN_SHARE, LONG, Schedule, cooldown_start

__all__ = ["MAX_SOLVER_STEPS", "Pace"]

# Optimiser steps between checks of the time, for which the processes of a group wait.
CLOCK_PERIOD = 5
MAX_SOLVER_STEPS = 32
# Budget of solver steps of a block, per optimiser step that it may take.
BUDGETED_SOLVER_STEPS = 2
# Growth of the end that trial cool-downs assume, from one to the next.
TRIAL_GROWTH = 3


class Pace:
    """Progress of the training of one block, in optimiser steps, and its schedule.

    The learning rate warms up, stays on a plateau, and cools down to zero. If the held-out
    likelihood becomes worse on the plateau, a shorter cool-down starts from the best weights.

    On a long plateau, overfitting is hidden by the noise of the learning rate. Therefore long
    training makes a trial cool-down, as if it ended after 1,000 steps. Then it is evaluated, and
    returns to the weights of the plateau. This is repeated as if training ended after 3,000 steps,
    9,000 and so on, while the held-out rows gain. From the first trial on, only these trials decide
    when training ends.

    Parameters
    ----------
    options : TrainingOptions
    n_rows, n_held_out : float
        Number of training and of held-out rows.

    Attributes
    ----------
    n_iter : int
        Optimiser steps taken.
    solver_steps : int
        Solver steps in each of them.
    overfits : bool
        Whether the held-out likelihood became worse.
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
        """Whether an evaluation is scheduled, or needed for a decision."""
        is_time = self.n_iter - self.last_evaluation >= self.schedule.period(self.n_iter)
        return is_time or self.trial_cooldown_ends or self.finished

    @property
    def clock_is_due(self):
        return self.n_iter % CLOCK_PERIOD == 0

    @property
    def is_stuck(self):
        """Whether nothing was gained for so long that training must be overfitting."""
        # Rows seen less than twice are not memorised: earlier losses are due to the learning rate.
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
        """Optimiser steps without those of trial cool-downs, which were undone."""
        return self.n_iter - self.n_taken_back

    def learning_rate(self, k):
        """The rate of optimiser step k = 0, 1, ..., lower if the block has become stiff."""
        # A high rate makes the velocity rough, so that every further step needs a finer solver.
        stiffness = max(self.solver_steps / BUDGETED_SOLVER_STEPS, 1.0)
        warmup = (k + 1) / (self.schedule.warmup + 1)
        cooldown = (self.cooldown_end - k) / max(self.cooldown_end - self.cooldown_start, 1)
        return self.options.learning_rate / stiffness * min(warmup, cooldown, 1.0)

    def step(self):
        """Count an optimiser step."""
        self.n_iter += 1
        self.n_solver_steps += self.solver_steps

    def count_evaluation(self, is_better):
        """Count an evaluation of the weights: better or not, or None if it should not count."""
        self.last_evaluation = self.n_iter
        if is_better is not None:
            self.n_without_gain = 0 if is_better else self.n_without_gain + 1

    def refine_solver(self):
        """Double the solver steps, with fewer optimiser steps; end if there can be no more."""
        if self.solver_steps == MAX_SOLVER_STEPS:
            self.end = self.n_iter
            return
        self.solver_steps *= 2
        if not self.overfits:
            self.schedule_until(self.end)

    def end_plateau(self):
        """Cool down because of overfitting, or end if that was done before; True the first time."""
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
        """Return to the plateau, or end if nothing was gained."""
        if not goes_on:
            self.overfits, self.end = True, self.n_iter
            return
        self.n_taken_back += self.n_iter - self.cooldown_start
        self.trial_end *= TRIAL_GROWTH
        self.in_trial_cooldown = False
        self.schedule_until(self.end)

    def keep_to(self, seconds, elapsed):
        """Adjust the end, so that training ends when its time is up."""
        affordable = self.n_iter * seconds / max(elapsed, 1e-9)
        if elapsed >= seconds:
            self.end = self.n_iter
        elif not self.overfits:
            self.schedule_until(int(max(min(self.options.max_iter, affordable), self.n_iter + 1)))

    def schedule_until(self, end):
        """Schedule the end after so many optimiser steps; fewer if each takes many solver steps."""
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
        """The step at which training would end if the cool-down began now."""
        return int(self.n_trained / (1 - COOLDOWN_SHARE))
