r"""The benchmarks of the paper, and a few that are commonly reported beside them.

Sizes, origins and errata are those of the copies named under ``origin``, which were read row by row; samples per problem
are the paper's where it has them (section 3.1: Avg@4 for mathematics, pass@1 for code) and said to be someone's habit
where it has not.
"""

from fractions import Fraction
from typing import Final

from thor_ray.grading.policy import GradingPolicy
from thor_ray.problems.benchmarks import Benchmark, BenchmarkKind

_AVG_AT_4: Final = "the paper's Avg@4 (temperature 0.6, top-p 1.0, top-k 50)"
_SMALL_AVG_AT_4: Final = (
    _AVG_AT_4 + "; some of its figures on sets of 30 and 40 problems only fit 16. Elsewhere 16 to 64 are common, since "
    "one problem weighs 2.5 to 3.3 points"
)
_PASS_AT_1: Final = "the paper's pass@1"
_NOT_IN_PAPER: Final = "not in the paper; one sample is common for a set of this size"
_NOT_IN_PAPER_SMALL: Final = "not in the paper; 4 as for its mathematics, elsewhere 16 to 64 are common"
_COMPETITION: Final = "none stated by the file; problems © MAA"
_CODE_PROMPT: Final = "zero-shot; signature and docstring or task text, answered with one Python program"

BENCHMARKS: Final[tuple[Benchmark, ...]] = (
    Benchmark(
        name="math500",
        title="MATH500",
        aliases=("math-500", "math_500"),
        size=500,
        licence="MIT",
        origin="ZubinGou/math-evaluation-harness data/math_oai/test.jsonl at db77bc6; first openai/prm800k",
        citation="Lightman et al., Let's Verify Step by Step, 2023, arXiv:2305.20050; a sample of the test set of "
        "Hendrycks et al., Measuring Mathematical Problem Solving With the MATH Dataset, 2021, arXiv:2103.03874",
        samples=4,
        samples_origin=_AVG_AT_4,
        errata=(
            "6 AIME problems of 1983 to 2017 are in it, some reworded: training on old AIME sets leaks them",
            "golds with base subscripts (52_8), units (864 \\mbox{ inches}^2), amounts in $, several solutions (3, 5, 7)",
            "mixed numbers among the golds (1\\frac{4}{5} is 9/5), and letters (\\text{(C)})",
            "copies with 134 rows hold level 5 alone, and their scores are no MATH500 scores",
        ),
    ),
    Benchmark(
        name="aime2024",
        title="AIME 2024",
        aliases=("aime24", "aime-2024", "aime_2024"),
        size=30,
        licence=_COMPETITION,
        origin="QwenLM/Qwen2.5-Math evaluation/data/aime24/test.jsonl at a45202b",
        citation="Mathematical Association of America, American Invitational Mathematics Examination I and II, 2024",
        samples=4,
        samples_origin=_SMALL_AVG_AT_4,
    ),
    Benchmark(
        name="aime2025",
        title="AIME 2025",
        aliases=("aime25", "aime-2025", "aime_2025"),
        size=30,
        licence=_COMPETITION,
        origin="NVIDIA/NeMo-Skills nemo_skills/dataset/aime25/test.txt at 0b012df, I 1-15 then II 1-15",
        citation="Mathematical Association of America, American Invitational Mathematics Examination I and II, 2025",
        samples=4,
        samples_origin=_SMALL_AVG_AT_4,
        errata=("problem I-2 has an [asy] picture in its text, which belongs there",),
    ),
    Benchmark(
        name="amc2023",
        title="AMC 2023",
        aliases=("amc23", "amc-2023", "amc_2023"),
        size=40,
        licence=_COMPETITION,
        origin="QwenLM/Qwen2.5-Math evaluation/data/amc23/test.jsonl at a45202b",
        citation="Mathematical Association of America, American Mathematics Competitions 12 A and B, 2023; reworded to "
        "whole-number answers by AI-MO/aimo-validation-amc",
        samples=4,
        samples_origin=_SMALL_AVG_AT_4,
        errata=(
            "multiple choice in the original; 40 problems survived the rewording, one gold is negative",
            "sets of 83 rows hold 2022 as well, and their scores cannot be compared with these",
        ),
    ),
    Benchmark(
        name="minerva_math",
        title="Minerva Math",
        aliases=("minerva", "minervamath", "minerva-math"),
        size=272,
        licence="not stated by the file; texts of MIT OpenCourseWare",
        origin="QwenLM/Qwen2.5-Math evaluation/data/minerva_math/test.jsonl at a45202b",
        citation="Lewkowycz et al., Solving Quantitative Reasoning Problems with Language Models (OCWCourses), 2022, "
        "arXiv:2206.14858",
        samples=4,
        samples_origin=_AVG_AT_4,
        grading=GradingPolicy(relative_tolerance=Fraction(1, 100)),
        errata=(
            "golds are measurements of two or three digits, without unit and tolerance: numbers within 1 % count",
            "verdicts that only the tolerance gives are marked; report the exact score beside it",
            "some golds are Python-like (np.arcsin(10/13), 4.5e33); five (5, 27, 38, 49, 269) can only be compared as text",
        ),
    ),
    Benchmark(
        name="olympiadbench",
        title="OlympiadBench",
        aliases=("olympiad", "olympiad_bench", "olympiad-bench"),
        size=675,
        licence="MIT (repository OpenBMB/OlympiadBench), Apache-2.0 (card)",
        origin="QwenLM/Qwen2.5-Math evaluation/data/olympiadbench/test.jsonl at a45202b: OE_TO_maths_en_COMP, the English, "
        "open-ended, text-only mathematics competition part",
        citation="He et al., OlympiadBench: A Challenging Benchmark for Promoting AGI with Olympiad-Level Bilingual "
        "Multimodal Scientific Problems, 2024, arXiv:2402.14008",
        samples=4,
        samples_origin=_AVG_AT_4,
        errata=(
            "94 golds hold several answers in any order, 8 have a unit beside the answer, 1 a stated error",
            "olympiadbench-2713 is in the test set of MATH; more of its problems are in MATH's training set",
            "2045 is malformed (t(0,4]), 1782 writes m_{\\max}=…, a few golds are prose with conditions",
        ),
    ),
    Benchmark(
        name="gsm8k",
        title="GSM8K",
        aliases=("gsm8k_test",),
        size=1319,
        licence="MIT",
        origin="openai/grade-school-math grade_school_math/data/test.jsonl at 3101c7d",
        citation="Cobbe et al., Training Verifiers to Solve Math Word Problems, 2021, arXiv:2110.14168",
        samples=1,
        samples_origin=_NOT_IN_PAPER,
        in_paper=False,
        files=("gsm8k_test.jsonl", "gsm8k.jsonl", "gsm8k_test.parquet"),
    ),
    Benchmark(
        name="hmmt_feb_2025",
        title="HMMT February 2025",
        aliases=("hmmt25", "hmmt2025"),
        size=30,
        licence="none stated by the file",
        origin="RUCAIBox/Slow_Thinking_with_LLMs STILL-3-TOOL/evaluation/dataset/hmmt_feb_2025.jsonl at 834e1b7",
        citation="Harvard-MIT Mathematics Tournament, February 2025",
        samples=4,
        samples_origin=_NOT_IN_PAPER_SMALL,
        in_paper=False,
    ),
    Benchmark(
        name="olymmath_en_hard",
        title="OlymMATH EN-HARD",
        aliases=("olymmath",),
        size=100,
        licence="not stated in the repository's root",
        origin="RUCAIBox/Slow_Thinking_with_LLMs OlymMATH/data/OlymMATH-EN-HARD.jsonl at 834e1b7",
        citation="Sun et al., Challenging the Boundaries of Reasoning: An Olympiad-Level Math Benchmark for Large "
        "Language Models, 2025, arXiv:2503.21380",
        samples=4,
        samples_origin=_NOT_IN_PAPER_SMALL,
        in_paper=False,
    ),
    Benchmark(
        name="humanevalplus",
        title="HumanEval+",
        aliases=("humaneval+", "humaneval_plus"),
        kind=BenchmarkKind.CODE,
        size=164,
        licence="Apache-2.0",
        origin="evalplus/humanevalplus_release at 200defc",
        citation="Liu et al., Is Your Code Generated by ChatGPT Really Correct? Rigorous Evaluation of Large Language "
        "Models for Code Generation (EvalPlus), 2023, arXiv:2305.01210; Chen et al., 2021, arXiv:2107.03374",
        samples=1,
        samples_origin=_PASS_AT_1,
        prompt=_CODE_PROMPT,
        files=("HumanEvalPlus.jsonl.gz", "HumanEvalPlus.jsonl"),
    ),
    Benchmark(
        name="mbppplus",
        title="MBPP+",
        aliases=("mbpp+", "mbpp_plus"),
        kind=BenchmarkKind.CODE,
        size=378,
        licence="Apache-2.0",
        origin="evalplus/mbppplus_release at dadf43d",
        citation="Liu et al., Is Your Code Generated by ChatGPT Really Correct? Rigorous Evaluation of Large Language "
        "Models for Code Generation (EvalPlus), 2023, arXiv:2305.01210; Austin et al., 2021, arXiv:2108.07732",
        samples=1,
        samples_origin=_PASS_AT_1,
        prompt=_CODE_PROMPT,
        files=("MbppPlus.jsonl.gz", "MbppPlus.jsonl"),
    ),
    Benchmark(
        name="livecodebench",
        title="LiveCodeBench v6",
        aliases=("livecodebench_v6", "lcb"),
        kind=BenchmarkKind.CODE,
        size=175,
        licence="cc (card, without version); problems of LeetCode, AtCoder and Codeforces",
        origin="the Hugging Face hub's livecodebench/code_generation_lite, test6.jsonl: what version 6 added",
        citation="Jain et al., LiveCodeBench: Holistic and Contamination Free Evaluation of Large Language Models for "
        "Code, 2024, arXiv:2403.07974",
        samples=1,
        samples_origin=_PASS_AT_1,
        prompt=_CODE_PROMPT,
        errata=("the paper does not say which problems its v6 has; 175 fits the weights of its averages",),
        files=("livecodebench_v6.jsonl", "livecodebench_v6.jsonl.gz", "test6.jsonl"),
    ),
)


def benchmark_named(name: str) -> Benchmark | None:
    """The registered benchmark of this name or alias, whatever its case; ``None`` where there is none."""
    wanted = name.casefold()
    return next((each for each in BENCHMARKS if wanted == each.name or wanted in each.aliases), None)
