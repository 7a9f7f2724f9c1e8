"""The guards of a conversion's record, from an event to the manifest (rules R1 to R8)."""

from tests.faults.guard import Edit, Guard

_CLOSING = "shared/closing.py"
_HOLD = "shared/hold.py"
_LIFECYCLE = "shared/lifecycle.py"
_MANIFEST = "shared/manifest.py"
_RECORDS = "shared/in_flight.py"
_STEPS = "shared/steps.py"

_CRASHES = (
    "tests/faults/test_crash_points_started.py::"
    "test_killed_at_any_point_what_was_started_ends_once_and_leaves_nothing"
)
_INPUTS = "tests/test_lifecycle_inputs.py"
_LIFE = "tests/test_lifecycle.py"
_OVERTAKEN = "tests/test_lifecycle_overtaken.py"
_RECORDED = "tests/test_in_flight.py"
_RACES = "tests/test_lifecycle_races.py"
_SERVICES = "tests/test_lifecycle_services.py"
_SETTINGS = "tests/test_lifecycle_settings.py"
_TRANSFERS = "tests/test_transfers.py"
_TRANSLATED = "tests/test_model_derivative.py"

_LOST_REPLIES = f"{_RACES}::test_a_lost_reply_to_any_write_changes_nothing"

OF_RECORDS = (
    Guard(
        "duplicate-check",
        "R1",
        "An event of the version that is in flight changes nothing.",
        (
            Edit(
                _LIFECYCLE,
                "                        is_same\n                        and held",
                "                        False\n                        and held",
            ),
        ),
        (f"{_LIFE}::test_an_event_that_comes_again_in_mid_flight_changes_nothing",),
    ),
    Guard(
        "record-if-none-match",
        "R1",
        "A new record is made only where there is none.",
        (Edit(_RECORDS, "etag = await self._storage.create(", "etag = await self._storage.put("),),
        (f"{_OVERTAKEN}::test_a_newer_version_whose_event_overtakes_is_converted_once",),
    ),
    Guard(
        "record-before-model",
        "R1",
        "The record is read before the model's ETag, not after it.",
        (
            Edit(
                _LIFECYCLE,
                "            held, unreadable = None, None\n",
                "            held, unreadable = None, None\n"
                "            head = await self._tools.head(path)\n",
            ),
            Edit(
                _LIFECYCLE,
                "            head = await self._tools.head(path)\n            if head is None:",
                "            if head is None:",
            ),
        ),
        (
            f"{_OVERTAKEN}::test_a_version_that_overtakes_the_event_of_another_in_mid_flight_is_converted_once",
        ),
    ),
    Guard(
        "persisted-id",
        "R1, R3",
        "The id that a service is given is the record's, whoever starts.",
        (
            Edit(
                _STEPS,
                "            id=conversion.id,\n",
                "            id=f'{random.getrandbits(128):032x}',\n",
            ),
        ),
        (f"{_SERVICES}::test_a_transient_fault_is_tried_again_later_and_later", _LOST_REPLIES),
    ),
    Guard(
        "intake-head",
        "R2",
        "Intake looks at the model again, with the record in its hands.",
        (
            Edit(
                _STEPS,
                "if head is not None and head.etag != conversion.etag:  # R2",
                "if False:",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_version_that_lands_between_record_and_intake_is_the_only_one_converted",),
    ),
    Guard(
        "already-done",
        "R2",
        "A version that has its manifest is not converted again.",
        (
            Edit(
                _STEPS,
                "if stored and old and old.settings_hash == resolved.digest and old.source.etag == head.etag",
                "if False",
            ),
        ),
        (f"{_LIFE}::test_a_repeated_event_does_not_convert_a_failed_model_again",),
    ),
    Guard(
        "settings-hash",
        "R2",
        "What has a manifest is done only if it was made with the same settings.",
        (
            Edit(
                _STEPS,
                "if stored and old and old.settings_hash == resolved.digest and",
                "if stored and old and",
            ),
        ),
        (f"{_SETTINGS}::test_a_sidecar_after_the_end_converts_again",),
    ),
    Guard(
        "settings-in-flight",
        "R1",
        "A sidecar that says something new supersedes what is in flight.",
        (
            Edit(
                _LIFECYCLE,
                "and not (has_new_settings and await self._differs(held.conversion))\n",
                "and True\n",
            ),
        ),
        (f"{_SETTINGS}::test_a_sidecar_in_mid_flight_starts_over",),
    ),
    Guard(
        "same-bytes",
        "R2",
        "The same bytes under a new ETag only move the manifest.",
        (Edit(_STEPS, "if stored and old and _is_touched(old, self.conversion):", "if False:"),),
        (f"{_LIFE}::test_the_same_bytes_under_a_new_etag_only_move_the_manifest",),
    ),
    Guard(
        "same-bytes-same-settings",
        "R2",
        "The same bytes with other settings are converted.",
        (Edit(_STEPS, "        and old.settings_hash == conversion.settings_hash\n", ""),),
        (f"{_SETTINGS}::test_the_same_bytes_with_other_settings_are_converted_again",),
    ),
    Guard(
        "same-bytes-same-companions",
        "R2",
        "The same bytes with another companion are converted.",
        (Edit(_STEPS, "        and old.source.companions == conversion.companions\n", ""),),
        (f"{_INPUTS}::test_a_new_companion_and_the_same_model_again_convert_again",),
    ),
    Guard(
        "same-bytes-in-flight",
        "R1",
        "A change of metadata in mid-flight is no new version.",
        (
            Edit(
                _LIFECYCLE,
                "is_same = held.conversion.etag == head.etag or held.conversion.is_same_content(",
                "is_same = held.conversion.etag == head.etag or self._is_none(",
            ),
            Edit(
                _LIFECYCLE,
                "    async def _differs(",
                "    def _is_none(self, *_: Any) -> bool:\n        return False\n\n    async def _differs(",
            ),
        ),
        (f"{_LIFE}::test_a_metadata_change_in_mid_flight_is_no_new_version",),
    ),
    Guard(
        "record-cas",
        "R4",
        "Every change of a record is a compare-and-swap.",
        (
            Edit(
                _RECORDS,
                "await self._storage.replace(\n"
                "                    self._container, name, body(conversion), etag, metadata=",
                "await self._storage.put(\n"
                "                    self._container, name, body(conversion), metadata=",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_run_that_slept_replaces_no_newer_manifest",),
    ),
    Guard(
        "own-rev",
        "R4",
        "A refused write that is already there is our own, whose reply was lost.",
        (Edit(_RECORDS, "if current.conversion.rev != conversion.rev:", "if True:"),),
        (_LOST_REPLIES,),
    ),
    Guard(
        "refused-without-a-reason",
        "R4",
        "A refused write of a record that nobody has written is made again.",
        (Edit(_RECORDS, "current is None or current.etag != etag:", "True:"),),
        (f"{_RECORDED}::test_a_write_that_is_refused_although_nobody_has_written_is_made_again",),
    ),
    Guard(
        "cancel-what-was-lost",
        "R4",
        "A run that lost its record to another conversion cancels what it started.",
        (Edit(_LIFECYCLE, "if lost.id != run.conversion.id and left is not None:", "if False:"),),
        (f"{_TRANSFERS}::test_a_run_that_lost_its_record_cancels_what_it_started",),
    ),
    Guard(
        "cancel-superseded",
        "R1",
        "What is superseded is cancelled at its service.",
        (Edit(_STEPS, "self._tools.abandon(path, one)", "asyncio.sleep(0, True)"),),
        (f"{_TRANSLATED}::test_a_newer_version_in_mid_flight_ends_the_older_translation",),
    ),
    Guard(
        "own-folder",
        "R5",
        "A conversion writes into a folder of its own.",
        (
            Edit(
                "shared/paths.py",
                'return f"{folder(path)}/{conversion_id}"',
                "return f\"{folder(path)}/{'0' * 32}\"",
            ),
        ),
        (f"{_RACES}::test_of_two_versions_the_newer_wins_although_the_older_job_ends_last",),
    ),
    Guard(
        "finish-head",
        "R6",
        "Before the end the model must still be the version that was converted.",
        (Edit(_CLOSING, "elif head.etag != conversion.etag:", "elif False:"),),
        (f"{_RACES}::test_a_new_version_whose_event_is_late_is_seen_at_the_end",),
    ),
    Guard(
        "finish-without-the-model",
        "R6",
        "Success of a model that is gone is one only if the service says that it read this version.",
        (Edit(_CLOSING, "if not conversion.sent and not conversion.was_read(outcome):", "if False:"),),
        (f"{_OVERTAKEN}::test_a_version_that_came_and_went_is_not_passed_off_as_the_one_before",),
    ),
    Guard(
        "finish-misread",
        "R6",
        "The same bytes before and after are not taken for what the service read in between.",
        (Edit(_CLOSING, "was_read is False or (", "("),),
        (f"{_OVERTAKEN}::test_a_version_that_was_there_only_while_the_service_read_is_not_mixed_in",),
    ),
    Guard(
        "failure-misread",
        "R6",
        "The same bytes before and after are not blamed for what the service met in between.",
        (Edit(_CLOSING, "was_read is None and may_be", "False"),),
        (f"{_RACES}::test_a_failure_of_what_was_there_in_between_is_not_the_models",),
    ),
    Guard(
        "finish-taken-over",
        "R6",
        "A run that takes over a finish looks at the model itself.",
        (Edit(_CLOSING, "if not self._is_fenced:", "if False:"),),
        (f"{_OVERTAKEN}::test_a_new_version_is_seen_although_the_process_died_before_the_manifest",),
    ),
    Guard(
        "manifest-if-match",
        "R6",
        "A manifest replaces only the version that was seen.",
        (
            Edit(
                _MANIFEST,
                "self._storage.replace(self._container, name, data, etag, metadata=metadata)",
                "self._storage.put(self._container, name, data, metadata=metadata)",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_run_that_slept_replaces_no_newer_manifest",),
    ),
    Guard(
        "manifest-if-none-match",
        "R6",
        "The first manifest is written only where there is none.",
        (
            Edit(
                _MANIFEST,
                "self._storage.create(self._container, name, data, metadata=metadata)",
                "self._storage.put(self._container, name, data, metadata=metadata)",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_run_that_slept_replaces_no_newer_manifest",),
    ),
    Guard(
        "own-manifest",
        "R6",
        "A refused manifest that is already there is our own, whose reply was lost.",
        (
            Edit(
                _CLOSING,
                "if current and current.manifest and current.manifest.id == written.id:",
                "if False:",
            ),
        ),
        (_LOST_REPLIES,),
    ),
    Guard(
        "replaced-meanwhile",
        "R7",
        "The files go, too, of a manifest that appeared meanwhile and was replaced.",
        (
            Edit(
                _CLOSING,
                "drop=distinct(*hold.conversion.drop, *replaced),",
                "drop=hold.conversion.drop,",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_manifest_that_appeared_meanwhile_is_replaced_and_its_files_go",),
    ),
    Guard(
        "delete-if-match",
        "R7",
        "The record goes only if it is still the finished conversion's.",
        (Edit(_RECORDS, "delete(self._container, name, held.etag)", "delete(self._container, name)"),),
        (f"{_OVERTAKEN}::test_a_version_that_lands_at_the_last_moment_keeps_its_record",),
    ),
    Guard(
        "folder-before-record",
        "R7",
        "The replaced folder goes before the record, so that a death leaves no folder.",
        (
            Edit(
                _CLOSING,
                "        for conversion_id in hold.conversion.drop:\n",
                "        await hold.delete()\n        for conversion_id in hold.conversion.drop:\n",
            ),
            Edit(
                _CLOSING,
                "await tools.dispose(hold.conversion)\n        await hold.delete()\n",
                "await tools.dispose(hold.conversion)\n",
            ),
        ),
        (f"{_CRASHES}[converted_again-poll_conversions-timers]",),
    ),
    Guard(
        "manifest-before-folder",
        "R7",
        "The replaced folder goes only after the manifest that named it.",
        (
            Edit(
                _CLOSING,
                "        written = manifest.build(hold.conversion, tools.now())\n",
                "        written = manifest.build(hold.conversion, tools.now())\n"
                "        for conversion_id in hold.conversion.drop:\n"
                "            await tools.drop_outputs(paths.outputs(hold.conversion.path, conversion_id))\n",
            ),
        ),
        (f"{_OVERTAKEN}::test_until_there_is_a_new_manifest_the_files_of_the_old_one_are_there",),
    ),
    Guard(
        "superseded-folder",
        "R7",
        "What a superseded job wrote goes with the end of the one that took its place.",
        (
            Edit(
                _LIFECYCLE,
                "fresh.changed(**old.left_behind))",
                "fresh.changed(**old.left_behind | {'drop': old.drop}))",
            ),
        ),
        (f"{_RACES}::test_what_a_superseded_job_wrote_before_the_end_goes_with_it",),
    ),
    Guard(
        "claim-at-creation",
        "R8",
        "Who makes a record has a while for its intake, alone.",
        (
            Edit(
                _LIFECYCLE,
                "            due_at = now + timedelta(seconds=self._tools.pace.claim)\n            fresh =",
                "            due_at = now\n            fresh =",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_step_that_is_at_work_is_not_begun_beside_it",),
    ),
    Guard(
        "claim-at-step",
        "R8",
        "The write that enters a step claims it.",
        (
            Edit(
                _HOLD,
                '            "due_at": now + timedelta(seconds=self.tools.pace.claim),\n',
                '            "due_at": now,\n',
            ),
        ),
        (f"{_OVERTAKEN}::test_a_step_that_is_at_work_is_not_begun_beside_it",),
    ),
    Guard(
        "claim-when-taken-over",
        "R8",
        "Who takes a step over has a while for it, alone.",
        (
            Edit(
                _LIFECYCLE,
                "            due_at=now + timedelta(seconds=self._tools.pace.claim),\n            **changes,",
                "            due_at=now,\n            **changes,",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_step_that_is_at_work_is_not_begun_beside_it",),
    ),
    Guard(
        "claim-of-intake",
        "R8",
        "An intake that is taken over is claimed.",
        (
            Edit(
                _LIFECYCLE,
                "_CLAIMED = (Step.INTAKE, Step.START, Step.COLLECT)",
                "_CLAIMED = (Step.START, Step.COLLECT)",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_step_that_is_at_work_is_not_begun_beside_it[intake]",),
    ),
    Guard(
        "claim-of-start",
        "R8",
        "A start that is taken over is claimed.",
        (
            Edit(
                _LIFECYCLE,
                "_CLAIMED = (Step.INTAKE, Step.START, Step.COLLECT)",
                "_CLAIMED = (Step.INTAKE, Step.COLLECT)",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_step_that_is_at_work_is_not_begun_beside_it[start]",),
    ),
    Guard(
        "claim-of-collect",
        "R8",
        "A collection that is taken over is claimed.",
        (
            Edit(
                _LIFECYCLE,
                "_CLAIMED = (Step.INTAKE, Step.START, Step.COLLECT)",
                "_CLAIMED = (Step.INTAKE, Step.START)",
            ),
        ),
        (f"{_OVERTAKEN}::test_a_step_that_is_at_work_is_not_begun_beside_it[collect]",),
    ),
    Guard(
        "due-only",
        "R8",
        "What is not due is left to whoever has claimed it.",
        (Edit(_LIFECYCLE, "if conversion.due_at > self._tools.now() and not (", "if False and not ("),),
        (f"{_OVERTAKEN}::test_a_step_that_is_at_work_is_not_begun_beside_it",),
    ),
    Guard(
        "handed-over-once",
        "R8",
        "The claim of a step that was handed over takes it from the next message.",
        (Edit(_LIFECYCLE, "            handed_over=False,\n", ""),),
        (f"{_TRANSFERS}::test_a_message_that_comes_twice_moves_the_files_once",),
    ),
    Guard(
        "claim-counted",
        "R8",
        "Every claim of a step is counted.",
        (Edit(_LIFECYCLE, "tries=held.conversion.tries + 1,", "tries=held.conversion.tries,"),),
        (f"{_TRANSFERS}::test_the_third_death_of_a_transfer_is_the_end",),
    ),
    Guard(
        "claim-kept",
        "R8",
        "A long copy keeps its claim.",
        (Edit(_HOLD, "            await self.save(due_at=now + claim)\n", "            pass\n"),),
        (f"{_TRANSFERS}::test_a_long_copy_keeps_its_claim",),
    ),
    Guard(
        "outage-no-death",
        "R8",
        "A step that storage broke off is taken again, and is no death.",
        (Edit(_STEPS, "fault = outage(error)", "fault = None"),),
        ("tests/test_lifecycle_storage.py",),
    ),
    Guard(
        "third-death",
        "R8",
        "The third death of a step is the end.",
        (
            Edit(
                _LIFECYCLE,
                "if conversion.tries >= _MOST_TRIES and conversion.step in _CLAIMED:",
                "if False:",
            ),
        ),
        (f"{_SERVICES}::test_three_deaths_of_a_step_are_the_end",),
    ),
)
