"""All fuzzing targets."""

from tests.fuzz import archives, documents, images, lists, models, names

TARGETS = {
    target.name: target
    for module in (documents, lists, archives, images, models, names)
    for target in module.TARGETS
}
