import json

from shared.embedded.engine.job import Failure, Job, Limits, Made, Output, Result, Warning_


def test_a_job_survives_json() -> None:
    job = Job(
        "/in",
        "a/car.obj",
        "/out",
        (Output("glb", "car.glb"), Output("thumbnail", "car.png", {"width": 100})),
        {"scaling": 2.0},
        Limits(memory_mb=1, cpu_seconds=2, wall_seconds=3, output_mb=4),
    )
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_a_result_survives_json() -> None:
    failed = Result(error=Failure("corrupt-model", "The file ends early."))
    made = Result(
        made=(Made("obj", "car.mtl", 3, "ab", "model/mtl", "companion"),),
        warnings=(Warning_("4004", "Missing texture", {"texture": "a.png", "material": "red"}),),
        statistics={"triangles": 12},
        info={"inputInfo": {"sourceAssetFormat": "OBJ"}},
    )
    for result in (failed, made):
        assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result
