"""Layers and operations of Keras in ncnn's form, a function for each kind.

In: a network in ncnn's form that grows, a step, and its inputs. Out: the step's output there, or an
error that says what ncnn lacks. ``reading`` is what they share; each other module knows a group of
layers. Imported by ``ncnn.convert``; imports ``ncnn.net``.
"""
