"""The guards of sweep and tick, of the clock, and of what is collected."""

from tests.faults.guard import Edit, Guard

_COLLECT = "shared/outcome.py"
_LIFECYCLE = "shared/lifecycle.py"
_STEPS = "shared/steps.py"
_SWEEP = "shared/sweep.py"
_TICK = "shared/tick.py"

_SERVICES = "tests/test_lifecycle_services.py"
_SWEEPS = "tests/test_sweep.py"
_TICKS = "tests/test_tick.py"
_STORAGE = "tests/test_storage.py"
_TRANSFERS = "tests/test_transfers.py"
_SENT = "tests/test_model_derivative_sent.py"

OF_TIMERS = (
    Guard(
        "sweep-etag",
        "R9",
        "A manifest counts in the sweep only for the ETag that it is about.",
        (
            Edit(
                _SWEEP,
                'done.add(blob.name, paths.from_metadata(blob.metadata["sourceetag"]))',
                "done.add(blob.name)",
            ),
            Edit(
                _SWEEP,
                "(paths.manifest(blob.name), blob.etag) in done",
                "(paths.manifest(blob.name),) in done",
            ),
        ),
        (f"{_SWEEPS}::test_a_newer_version_whose_event_was_lost_is_found",),
    ),
    Guard(
        "sweep-in-flight",
        "R9",
        "The sweep leaves alone what is in flight.",
        (
            Edit(
                _SWEEP,
                "                    or (paths.record(blob.name),) in in_flight\n",
                "",
            ),
        ),
        (f"{_SWEEPS}::test_what_is_in_flight_is_left_alone",),
    ),
    Guard(
        "orphan-age",
        "R9",
        "Outputs that no manifest names are left while somebody may still write there.",
        (Edit(_SWEEP, " if self._storage.now() - newest >= written_until]", "]"),),
        (f"{_SWEEPS}::test_orphans_go_when_they_are_old_and_nothing_names_them",),
    ),
    Guard(
        "orphan-in-flight",
        "R9",
        "Outputs of what is in flight are no orphans, however old.",
        (
            Edit(
                _SWEEP,
                "if held is not None and conversion_id in (held.conversion.id, *held.conversion.drop):",
                "if False:",
            ),
        ),
        (f"{_SWEEPS}::test_outputs_of_a_conversion_in_flight_are_no_orphans",),
    ),
    Guard(
        "orphan-named-meanwhile",
        "R9",
        "Outputs that a manifest has named since the listing are no orphans.",
        (
            Edit(
                _SWEEP,
                "return stored.manifest.names() if stored.manifest.id == conversion_id else frozenset()",
                "return frozenset()",
            ),
        ),
        (f"{_SWEEPS}::test_no_order_of_a_listing_makes_orphans",),
    ),
    Guard(
        "orphan-record-first",
        "R9",
        "Whether outputs are wanted, the record says first, then the manifest that it becomes.",
        (
            Edit(
                _SWEEP,
                "            held = await self._in_flight.read(paths.record_of_folder(folder))\n",
                "            stored = await self._manifests.in_folder(folder)\n"
                "            held = await self._in_flight.read(paths.record_of_folder(folder))\n",
            ),
            Edit(
                _SWEEP,
                "            return None\n        stored = await self._manifests.in_folder(folder)\n",
                "            return None\n",
            ),
        ),
        (f"{_SWEEPS}::test_outputs_of_a_conversion_that_ends_beside_the_sweep_are_no_orphans",),
    ),
    Guard(
        "orphan-unreadable",
        "R9",
        "Beside a record that cannot be read nothing is an orphan.",
        (
            Edit(
                _SWEEP,
                "        except Unreadable:\n            return None\n",
                "        except Unreadable:\n            held = None\n",
            ),
        ),
        (f"{_SWEEPS}::test_beside_a_record_that_cannot_be_read_nothing_is_an_orphan",),
    ),
    Guard(
        "convert-since",
        "",
        "A sweep leaves an archive alone: models from before CONVERT_SINCE, or the installation.",
        (Edit(_SWEEP, "blob.last_modified < since\n", "False\n"),),
        (
            f"{_SWEEPS}::test_what_landed_before_the_installation_is_an_archive",
            f"{_SWEEPS}::test_convert_since_says_from_when_on",
        ),
    ),
    Guard(
        "storage-clock",
        "R10",
        "Now is what the storage service says.",
        (
            Edit(
                "shared/storage.py",
                "return self._date + timedelta(seconds=time.monotonic() - self._read_at)",
                "return datetime.now(UTC)",
            ),
        ),
        (
            f"{_SERVICES}::test_the_instances_own_clock_decides_nothing",
            "tests/test_storage.py::test_the_time_is_the_services_however_wrong_the_instance",
        ),
    ),
    Guard(
        "tick-lease",
        "",
        "One tick works at a time.",
        (
            Edit(
                _TICK,
                "        if not await self._acquire(lease):\n",
                "        await self._acquire(lease)\n        if False:\n",
            ),
        ),
        (f"{_TICKS}::test_a_tick_beside_another_is_one_request",),
    ),
    Guard(
        "tick-lease-kept",
        "",
        "A tick that takes long keeps its lease.",
        (Edit(_TICK, "                await lease.renew()\n", "                pass\n"),),
        (f"{_TICKS}::test_a_long_tick_keeps_its_lease",),
    ),
    Guard(
        "max-in-flight",
        "",
        "No service has more than MAX_IN_FLIGHT conversions.",
        (Edit(_TICK, "return begun + new[: max(free, 0)]", "return begun + new"),),
        (f"{_SERVICES}::test_at_most_so_many_conversions_are_at_a_service",),
    ),
    Guard(
        "published-limit",
        "",
        "A service is started no faster than it says.",
        (Edit(_TICK, "if limit is None or not wanted:", "if True:"),),
        (f"{_TRANSFERS}::test_a_published_limit_is_kept_by_the_tick",),
    ),
    Guard(
        "handed-out",
        "",
        "What the tick counts, the trigger only records.",
        (Edit(_STEPS, "if tools.hands_out(settings.service):", "if False:"),),
        (f"{_SERVICES}::test_at_most_so_many_conversions_are_at_a_service",),
    ),
    Guard(
        "handed-out-to-the-tick",
        "",
        "What the tick counts, a message starts only after the tick.",
        (
            Edit(
                _LIFECYCLE,
                "if conversion.step is Step.START and not conversion.ordered and transfers:",
                "if False:",
            ),
        ),
        (f"{_TRANSFERS}::test_a_message_of_an_earlier_conversion_starts_nothing_that_the_tick_counts",),
    ),
    Guard(
        "sizes",
        "R6",
        "An output of another size than stated is no success.",
        (Edit(_COLLECT, " or (file.size >= 0 and there[path].size != file.size)", ""),),
        (f"{_SERVICES}::test_outputs_shorter_than_stated_are_no_success",),
    ),
    Guard(
        "missing-outputs",
        "R6",
        "An output that is not there is no success.",
        (
            Edit(
                _COLLECT,
                "if path not in there or (file.size >= 0 and there[path].size != file.size)",
                "if path in there and file.size >= 0 and there[path].size != file.size",
            ),
        ),
        (f"{_SERVICES}::test_a_service_at_fault_ends_in_a_manifest",),
    ),
    Guard(
        "no-outputs",
        "R6",
        "Success without any output is none.",
        (Edit(_COLLECT, "if short or not (files or outcome.kept):", "if short:"),),
        (f"{_SERVICES}::test_a_service_at_fault_ends_in_a_manifest",),
    ),
    Guard(
        "files-of-a-failure",
        "R5",
        "A manifest names what was written before its conversion failed.",
        (
            Edit(
                _STEPS,
                "        if self.conversion.ordered:\n            # What",
                "        if False:\n            # What",
            ),
        ),
        (f"{_SERVICES}::test_what_a_job_had_written_when_its_time_was_over_is_in_the_manifest",),
    ),
    Guard(
        "polls-end",
        "",
        "Asking that fails for ever, in whatever way, ends at the deadline.",
        (Edit(_STEPS, "if self._is_late(by=tools.pace.claim):", "if False:"),),
        (f"{_SERVICES}::test_asking_that_fails_in_a_way_nobody_thought_of_ends_in_a_timeout",),
    ),
    Guard(
        "kept-is-fenced",
        "R6",
        "A manifest that is kept is written again, so that no superseded run can replace it.",
        (
            Edit(
                _STEPS,
                "if superseded or old.source.etag != conversion.etag:",
                "if old.source.etag != conversion.etag:",
            ),
        ),
        ("tests/test_lifecycle_overtaken.py::test_a_run_that_slept_replaces_no_manifest_that_was_kept",),
    ),
    Guard(
        "failure-is-fenced",
        "R6",
        "A superseded failure that no service ever had may be about to write its manifest.",
        (
            Edit(
                "shared/conversion.py",
                "self.at_service is not None or self.step is Step.FINISH",
                "self.at_service is not None",
            ),
        ),
        ("tests/test_lifecycle_overtaken.py::test_a_failure_that_slept_replaces_no_manifest_that_was_kept",),
    ),
    Guard(
        "cancel-what-is-not-over",
        "R4",
        "What has its manifest is over, and is not cancelled.",
        (
            Edit(
                "shared/tools.py",
                "if stored and stored.manifest and stored.manifest.id == left.id:",
                "if False:",
            ),
        ),
        (f"{_TRANSFERS}::test_a_run_that_slept_cancels_nothing_that_another_has_found_to_have_ended",),
    ),
    Guard(
        "time-to-collect",
        "",
        "Outputs have time to be brought, however late their job is found to have ended.",
        (Edit(_STEPS, "deadline=max(conversion.deadline or until, until)", "deadline=conversion.deadline"),),
        (f"{_TRANSFERS}::test_a_job_that_ended_while_nobody_ticked_for_long_is_collected",),
    ),
    Guard(
        "collecting-ends",
        "",
        "Outputs that are never brought are waited for no longer than that.",
        (
            Edit(
                _STEPS,
                "            if self._is_late():\n                raise self._too_late()\n            try",
                "            try",
            ),
        ),
        (f"{_TRANSFERS}::test_outputs_whose_messages_are_all_lost_are_a_timeout_too",),
    ),
    Guard(
        "half-a-refusal",
        "",
        "Storage's answer that a blob is not there may break off, and is asked for again.",
        (Edit("shared/storage.py", "await _read_refusal(response.http_response)", "pass"),),
        (f"{_STORAGE}::test_a_refusal_that_breaks_off_is_asked_for_again",),
    ),
    Guard(
        "one-version-in-a-copy",
        "",
        "A blob that is replaced while it is read is not read in two halves.",
        (Edit("shared/storage.py", "            etag = str(stream.properties.etag)\n", ""),),
        (f"{_STORAGE}::test_a_blob_that_is_replaced_while_it_is_read_is_no_blob_of_two_halves",),
    ),
    Guard(
        "the-version-that-was-ordered",
        "",
        "What is sent is the version that the record names, of companions too.",
        (Edit("shared/copies.py", "length=length, etag=versions.get(path)", "length=length"),),
        (f"{_SENT}::test_a_companion_that_changes_while_files_are_sent_is_another_order",),
    ),
    Guard(
        "heeded-429",
        "",
        "A service that told another process to wait is left alone.",
        (Edit(_TICK, "            self._heed(listed)\n", ""),),
        ("tests/faults/test_outage.py",),
    ),
    Guard(
        "late-files",
        "",
        "The sweep takes away what a job wrote after its conversion had ended.",
        (
            Edit(
                "shared/sweep.py",
                "if unnamed.get(its, blob.last_modified) <= blob.last_modified:",
                "if True:",
            ),
        ),
        ("tests/test_sweep.py::test_what_a_job_writes_when_its_conversion_has_ended_goes",),
    ),
)
