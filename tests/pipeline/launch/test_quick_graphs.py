"""What is remembered while a graph is built is what Beam would have found again."""

import inspect

import apache_beam as beam
from apache_beam.coders import StrUtf8Coder
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, TypeOptions
from apache_beam.transforms import userstate

from pipeline.launch.quick_graphs import quick_graphs
from pipeline.steps import index, plan, read, write

STATE = userstate.BagStateSpec("bag", StrUtf8Coder())
BAG = beam.DoFn.StateParam(STATE)


class Stateful(beam.DoFn):
    def process(self, element, bag=BAG):
        yield element


def test_specs_are_those_that_beam_finds():
    ours = [
        step
        for module in (index, plan, read, write)
        for step in vars(module).values()
        if isinstance(step, type) and issubclass(step, beam.DoFn) and step is not beam.DoFn
    ]
    made = [step.__new__(step) for step in ours if not inspect.isabstract(step)]
    assert len(made) > 5
    wrapped = [beam.core.CallableWrapperDoFn(function) for function in (len, sorted)]
    every = [*made, *wrapped, Stateful()]
    expected = list(map(userstate.get_dofn_specs, every))
    with quick_graphs():
        for _ in range(2):
            assert list(map(userstate.get_dofn_specs, every)) == expected
    assert expected[-1] == ({STATE}, set())


def test_views_share_their_values():
    options = PipelineOptions(["--direct_num_workers=3"])
    other = PipelineOptions(["--direct_num_workers=5"])
    with quick_graphs():
        view = options.view_as(DirectOptions)
        assert options.view_as(TypeOptions).view_as(DirectOptions) is view
        assert other.view_as(DirectOptions).direct_num_workers == 5
        view.direct_num_workers = 4
    assert options.view_as(DirectOptions).direct_num_workers == 4
    assert other.view_as(DirectOptions).direct_num_workers == 5


def test_beam_is_as_before_when_the_block_has_ended():
    before = userstate.get_dofn_specs, PipelineOptions.view_as
    try:
        with quick_graphs():
            assert (userstate.get_dofn_specs, PipelineOptions.view_as) != before
            raise ValueError
    except ValueError:
        pass
    assert (userstate.get_dofn_specs, PipelineOptions.view_as) == before
