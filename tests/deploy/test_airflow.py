"""The DAGs without Airflow; ``make test-deploy`` runs them with it."""

import ast
import pathlib
import re

FILE = pathlib.Path(__file__).parents[2] / "deploy" / "airflow" / "embed_images.py"


def test_every_setting_is_explained():
    tree = ast.parse(FILE.read_text())
    used = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setting"
    }
    explained = re.findall(
        r"^    EMBED_IMAGES_([A-Z]+) ", ast.get_docstring(tree, clean=False), re.M
    )
    assert used == set(explained)
    assert len(explained) == len(used) == 6


def test_nothing_of_this_project_is_imported():
    """Airflow's environment does not have it."""
    names = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    assert "airflow" in names
    assert not names & {"encoder", "pipeline", "deploy", "apache_beam", "numpy"}
