# The public names. A study, a notebook and the guides import nothing else.

# studies: a folder with study.toml, what its run.py is given, records, and what is released
from .study.folder import Study as Study
from .study.run import Run as Run
from .records.store import Store as Store
from .release.bundle import Bundle as Bundle
from .release.verification.answering import answer as answer
from .release.verification.verify import rederive as rederive
from .release.verification.verify import verify as verify

# from records to outcomes
from .panel.panel import build_panel as build_panel
from .panel.jobs import build_jobs as build_jobs
from .panel.spells import build_spells as build_spells
from .panel.quality import alkire_foster as alkire_foster
from .panel.quality import build_quality as build_quality
from .panel.outcome_paths import build_outcome_paths as build_outcome_paths
from .panel.outcome_paths import path_periods as path_periods
from .panel.baseline import baseline as baseline
from .panel.coverage import uncovered_records as uncovered_records

# linkage to another register
from .records.linkage.exact import Linkage as Linkage
from .records.linkage.exact import link_exactly as link_exactly
from .records.linkage.probabilistic import choose_links as choose_links
from .records.linkage.probabilistic import score_pairs as score_pairs
from .records.linkage.quality import linkage_rates as linkage_rates
from .records.linkage.quality import match_quality as match_quality

# who is compared with whom
from .sample.match import match as match
from .sample.matched import MatchedSample as MatchedSample
from .sample.record_flow import people_left_out as people_left_out
from .sample.record_flow import sample_flow as sample_flow
from .sample.record_flow import count_sample_flow as count_sample_flow
from .sample.counting import count_flow as count_flow
from .sample.counting import count_linked as count_linked
from .sample.composition import baseline_paths as baseline_paths
from .sample.composition import matching_table as matching_table
from .sample.balance.rating import balance_verdict as balance_verdict
from .sample.followup.censoring import follow_outcomes as follow_outcomes
from .sample.followup.censoring import follow_spells as follow_spells
from .sample.followup.censoring_weights import weight_for_censoring as weight_for_censoring

# the additive tables, and the result type of every estimator
from .estimators.outcome_moments import outcome_moments as outcome_moments
from .estimators.moments import OutcomeMoments as OutcomeMoments
from .estimators.survival.spells import Spells as Spells
from .tables.life_table.life_table import LifeTable as LifeTable
from .tables.counts import SampleCounts as SampleCounts
from .estimators.effects.effects import EffectTable as EffectTable

# difference-in-differences; the other estimators are methods of OutcomeMoments
from .estimators.did.means import mean_difference as mean_difference
from .estimators.did.means import mean_paths as mean_paths
from .estimators.did.lags import treatment_lags as treatment_lags
from .estimators.inference.pretrend import pretrend_test as pretrend_test
from .estimators.inference.robustness import robustness as robustness
from .estimators.inference.payback import payback as payback

# job stability; the curves and models are methods of Spells
from .estimators.survival.logrank import logrank_scores as logrank_scores
from .estimators.survival.logrank import logrank_test as logrank_test
from .estimators.survival.grouptest import score_test as score_test
from .estimators.survival.gray import gray_test as gray_test
from .estimators.survival.regression.proportionality import trend_test as trend_test
from .estimators.survival.endings import spell_flow as spell_flow

# estimators that read people
from .estimators.rows.att_gt import att_gt as att_gt
from .estimators.rows.wage_trajectory import wage_trajectory as wage_trajectory
from .estimators.rows.first_jobs import first_job_spells as first_job_spells
from .estimators.rows.follow_up import employment_after as employment_after
from .estimators.rows.follow_up import employment_shares as employment_shares
from .estimators.rows.follow_up import share_effects as share_effects
from .estimators.rows.regression import event_study_rows as event_study_rows
from .estimators.rows.regression import fixed_effects as fixed_effects
from .estimators.rows.regression import mean_difference_rows as mean_difference_rows

# hidden bias
from .estimators.inference.hidden_bias_bounds import e_value as e_value
from .estimators.inference.hidden_bias_bounds import oster_bounds as oster_bounds
from .estimators.inference.hidden_bias_bounds import rosenbaum_bounds as rosenbaum_bounds
from .sample.hidden_bias.hidden_bias import HiddenBias as HiddenBias

# a synthetic agency with known truth
from .simulation.agency import Simulation as Simulation
from .simulation.agency import simulate as simulate
from .simulation.truth import known_effects as known_effects

# errors
from .common.errors import DesignError as DesignError
from .common.errors import DisclosureError as DisclosureError
from .common.errors import InputError as InputError
from .common.errors import ReleaseError as ReleaseError
from .common.errors import RetrainEvalError as RetrainEvalError
from .common.errors import StoreError as StoreError
