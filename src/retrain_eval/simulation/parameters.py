"""What the synthetic agency is made of: every parameter with its unit and its source."""

from __future__ import annotations

from dataclasses import dataclass, fields

from retrain_eval.common.errors import InputError

AGE_BANDS = ("under 25", "25 to 39", "40 to 54", "55 and over")
EDUCATION = ("below upper secondary", "upper secondary", "tertiary")
TIERS = ("foundation", "transition", "substitution")
DELIVERIES = ("public", "employer", "mixed")
NO_GAIN_GROUPS = ("55 and over", "long-term unemployed", "limited capacity")
FUNDERS = ("state", "employer", "participant", "fund")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of `retrain_eval.simulation`; probabilities are per quarter, wages in logs of real quarterly earnings.

    Attributes
    ----------
    displaced : float
        Share of the register that is displaced; the others are workers of the same regions.
    separation, separation_displaced : float
        P(employed → non-employed) of workers never displaced, and of displaced workers in later jobs. Set so that
        P(employed → employed) is about .90 over the register, as in quarterly matched employer-employee records
        of low-wage workers.
    finding, finding_displaced : float
        P(non-employed → employed), set so that it is about .19 over the register.
    job_to_job : float
        P(another employer without a quarter between); Hyatt et al. (2014), LEHD job-to-job flows.
    recall : float
        Share of separations of workers never displaced after which the former employer takes the person back when they
        find work within a year: Fujita and Moscarini (2017) find that some 40% of the separated return.
    person_sd, shock_sd, shock_persistence : float
        Permanent differences in log earnings and an AR(1) shock, set so that log earnings of full quarters have a
        standard deviation of .54 and a first-order autocorrelation of .83.
    dip, dip_quarters : float, int
        Log earnings lost by the quarter of displacement, building up over so many quarters before: Jacobson, LaLonde
        and Sullivan (1993), whose losses begin three years before separation.
    loss, transitory_loss : float
        Log earnings lost for good, and for a time, in jobs after displacement; with non-employment they make a long-run
        loss of about 25% (Jacobson, LaLonde and Sullivan 1993, six years on).
    downgrade : float
        Share of displaced workers whose first new job pays one occupation group less.
    trained : float
        Scale of the odds to enter training in a quarter of non-employment after displacement.
    training_quarters : tuple of int
        Length by tier: foundation, transition, substitution.
    lock_in : float
        Factor of the finding rate during training: Card, Kluve and Weber (2018), near-zero or negative effects in the
        first year; Heinrich, Mueser, Troske, Jeon and Kahvecioglu (2013) for earnings.
    finding_gain, separation_gain : float
        Factors of the finding and separation rates after completed training, set so that employment is some 5 points
        higher one to two years, and 9 points two years or more, after entry (Card, Kluve and Weber 2018, table 3).
    wage_gain : float
        Log wage gain after completed training, before the factors below.
    age_gain, education_gain, tier_gain, delivery_gain : tuple of float
        Factors of all gains by group, in the order of ``AGE_BANDS, EDUCATION, TIERS, DELIVERIES``. Effects by age and
        education differ little and unsystematically in the literature; here they are made to differ, to be found.
    ai_gain : float
        Added to the factor of an arm taught with an AI tutor.
    no_gain_for : tuple of float
        Share of the gains of foundation and transition programmes that is lost by people of a group, in the order of
        ``NO_GAIN_GROUPS``: at least 55 years old at displacement; entering four quarters or more after displacement;
        with a disability. 0: they gain as others do; 1: nothing, so that what is lost while in training is all that
        training changes. Programmes of the tier substitution work for them as for others. Who is in two groups loses
        both shares.
    unlinked : float
        Share of people who could not be found in the wage records.
    funded : tuple of float
        Share of what training costs that each of ``FUNDERS`` pays, adding up to 1. No participant pays their own
        stipend: the others do.
    providers : int
        Number of providers. Six share the 18 programmes; any other number offer all of them each, and people are drawn
        to a provider whatever else is known of them.
    provider_sd : float
        Standard deviation, over providers, of what is added to the factor of all gains of their trainees; zero: none.
    dropout_by_access : float
        Probability to drop out in a quarter of training, of people without digital access; 0: access has no part in it.
    dropout_by_literacy : float
        Added to it for every 100 points that the literacy score lies below 276, where level 3 of PIAAC begins; 0:
        literacy has no part in it. Neither is from a source: they are strengths of a mechanism, to be found.
    """

    displaced: float = 0.6
    separation: float = 0.165
    separation_displaced: float = 0.045
    finding: float = 0.185
    finding_displaced: float = 0.20
    job_to_job: float = 0.025
    recall: float = 0.62
    person_sd: float = 0.40
    shock_sd: float = 0.31
    shock_persistence: float = 0.52
    dip: float = 0.10
    dip_quarters: int = 12
    loss: float = 0.02
    transitory_loss: float = 0.10
    downgrade: float = 0.4
    trained: float = 0.055
    training_quarters: tuple[int, int, int] = (2, 3, 4)
    lock_in: float = 0.65
    finding_gain: float = 1.15
    separation_gain: float = 0.50
    wage_gain: float = 0.06
    age_gain: tuple[float, float, float, float] = (0.7, 1.2, 1.1, 0.6)
    education_gain: tuple[float, float, float] = (0.7, 1.0, 1.3)
    tier_gain: tuple[float, float, float] = (0.7, 1.0, 1.3)
    delivery_gain: tuple[float, float, float] = (0.85, 1.3, 1.1)
    ai_gain: float = 0.1
    no_gain_for: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unlinked: float = 0.02
    funded: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    providers: int = 6
    provider_sd: float = 0.0
    dropout_by_access: float = 0.0
    dropout_by_literacy: float = 0.0

    def __post_init__(self) -> None:
        shares = ("displaced", "separation", "separation_displaced", "finding", "finding_displaced", "job_to_job",
                  "recall", "shock_persistence", "downgrade", "trained", "lock_in", "unlinked", "dropout_by_access",
                  "dropout_by_literacy", "no_gain_for")  # fmt: skip
        for field in fields(self):
            value, like = getattr(self, field.name), field.default
            if isinstance(like, tuple) and not (isinstance(value, tuple) and len(value) == len(like)):
                rule = f"a tuple of {len(like)} numbers"
                raise InputError("this parameter cannot be", column=field.name, value=value, rule=rule)
            whole = field.name in ("dip_quarters", "training_quarters", "providers")
            for number in value if isinstance(value, tuple) else (value,):
                kind = int if whole else (int, float)
                if isinstance(number, bool) or not isinstance(number, kind) or (whole and number < 1):
                    quarters = "a whole number" if field.name == "providers" else "whole quarters"
                    rule = f"{quarters}, at least 1" if whole else "a number"
                    raise InputError("this parameter cannot be", column=field.name, value=value, rule=rule)
                if not 0 <= number < 1e6 or (field.name in shares and number > 1):
                    rule = "0 to 1" if field.name in shares else "zero or more"
                    raise InputError("this parameter cannot be", column=field.name, value=value, rule=rule)
        if abs(sum(self.funded) - 1) > 1e-9:
            rule = f"shares of {', '.join(FUNDERS)} that add up to 1"
            raise InputError("this parameter cannot be", column="funded", value=self.funded, rule=rule)
