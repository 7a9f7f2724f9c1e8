"""The guards where the bundle meets services: starting once, callbacks, the embedded service, secrets."""

from tests.faults.guard import Edit, Guard

_API2CONVERT = "shared/clients/api2convert.py"
_CALLBACKS = "shared/callbacks.py"
_LIFECYCLE = "shared/lifecycle.py"
_REMOTE_RENDERING = "shared/clients/remote_rendering.py"
_REQUESTS = "shared/embedded/requests.py"
_STEPS = "shared/steps.py"
_TRANSLATIONS = "shared/clients/model_derivative.py"
_TRANSPORT = "shared/clients/transport.py"

_HTTP = "tests/test_http.py"
_JOBS = "tests/clients/test_api2convert_embedded.py"
_LOST_REPLIES = "tests/test_lifecycle_races.py::test_a_lost_reply_to_any_write_changes_nothing"
_REQUESTED = "tests/embedded/test_requests.py"
_SECRETS = "tests/faults/test_secrets.py"
_SERVICES = "tests/test_lifecycle_services.py"
_TRANSLATED = "tests/test_model_derivative.py"
_SENT = "tests/test_model_derivative_sent.py"
_WORKER = "tests/embedded/test_worker.py"

AT_SERVICES = (
    Guard(
        "idempotency-key",
        "R3",
        "Remote Rendering is given the conversion's id as its key.",
        (Edit(_REMOTE_RENDERING, 'headers={"Idempotency-Key": order.id},', "headers={},"),),
        ("tests/test_sas.py::test_a_repeated_start_brings_newer_tokens_for_the_same_job",),
    ),
    Guard(
        "idempotency-key-honoured",
        "R3",
        "The embedded service names a conversion after its key.",
        (
            Edit(
                "shared/embedded/api/remote_rendering.py",
                "conversion_id = _conversion_id(key)",
                "conversion_id = _conversion_id(None)",
            ),
        ),
        ("tests/test_sas.py::test_a_repeated_start_brings_newer_tokens_for_the_same_job",),
    ),
    Guard(
        "compared-without-sas",
        "R3",
        "A repeated order with a newer SAS is the same order.",
        (
            Edit(
                _REQUESTS,
                "if stored.request.without_secrets() != request.without_secrets():",
                "if stored.request != request:",
            ),
        ),
        ("tests/test_sas.py::test_a_repeated_start_brings_newer_tokens_for_the_same_job",),
    ),
    Guard(
        "newest-sas",
        "R3",
        "The newest SAS of a repeated order is the one that is used.",
        (Edit(_REQUESTS, "        if stored.request != request:\n", "        if False:\n"),),
        (f"{_REQUESTED}::test_a_repeat_is_the_same_request_and_keeps_the_newest_sas",),
    ),
    Guard(
        "other-content",
        "R3",
        "The same key with another order is refused.",
        (
            Edit(
                _REQUESTS,
                "if stored.request.without_secrets() != request.without_secrets():",
                "if False:",
            ),
        ),
        (f"{_REQUESTED}::test_the_same_id_for_other_content_is_refused",),
    ),
    Guard(
        "two-phase-start",
        "R3",
        "An api2convert job is created without being processed.",
        (Edit(_API2CONVERT, '"process": False,', '"process": True,'),),
        ("tests/clients/test_api2convert.py::test_a_job_is_made_of_an_address_and_started_afterwards",),
    ),
    Guard(
        "create-key",
        "R3",
        "An api2convert job that was created has the conversion's id as its key.",
        (Edit(_API2CONVERT, 'headers={"Idempotency-Key": order.id}, secrets', "headers={}, secrets"),),
        (f"{_JOBS}::test_a_lost_reply_costs_no_second_start",),
    ),
    Guard(
        "job-noted",
        "R3",
        "The job's id is recorded before the job is processed, and looked for again.",
        (Edit(_API2CONVERT, "        await transfer.note(job_id)\n", ""),),
        (
            "tests/clients/test_api2convert.py::test_a_service_at_fault_ends_in_a_manifest",
            f"{_JOBS}::test_a_lost_reply_costs_no_second_start",
        ),
    ),
    Guard(
        "job-started-already",
        "R3",
        "A job that refuses to be processed twice has been started.",
        (
            Edit(
                _API2CONVERT,
                'body={"process": True}, answers=(405, 409))',
                'body={"process": True}, answers=(405,))',
            ),
        ),
        (f"{_JOBS}::test_a_lost_reply_costs_no_second_start",),
    ),
    Guard(
        "key-with-the-id",
        "R3",
        "A Model Derivative object's key has the conversion's id in it.",
        (
            Edit(
                "shared/clients/model_derivative_urn.py",
                "return cls(bucket, conversion_id, record,",
                'return cls(bucket, "0" * 32, record,',
            ),
        ),
        (f"{_TRANSLATED}::test_the_same_model_again_is_another_translation",),
    ),
    Guard(
        "urn-noted",
        "R3",
        "The URN is recorded before the upload.",
        (
            Edit(
                "shared/tools.py",
                '"service_id": conversion.service_id or ahead,',
                '"service_id": conversion.service_id,',
            ),
        ),
        (f"{_SENT}::test_what_a_start_that_died_had_uploaded_goes_with_its_version",),
    ),
    Guard(
        "upload-once",
        "R3",
        "What is uploaded already is not uploaded again.",
        (
            Edit(
                "shared/clients/model_derivative_upload.py",
                "if not (repeated and await self._is_there(source, key, file.size)):",
                "if True:",
            ),
        ),
        (f"{_SENT}::test_a_crash_makes_no_second_translation",),
    ),
    Guard(
        "translation-exists",
        "R3",
        "A 409 to a translation means that it exists.",
        (
            Edit(
                _TRANSLATIONS,
                "        except Conflicting:\n            return None\n",
                "        except Conflicting:\n            raise\n",
            ),
        ),
        ("tests/clients/test_model_derivative.py::test_each_way_to_say_that_the_job_exists_is_good",),
    ),
    Guard(
        "cancel-recorded",
        "R1",
        "What is to be cancelled stands in the record until it is.",
        (
            Edit(
                _LIFECYCLE,
                "fresh.changed(**old.left_behind))\n",
                "fresh.changed(**old.left_behind | {'abandoned': ()}))\n"
                "        if old.at_service:\n"
                "            await self._tools.abandon(old.path, old.at_service)\n",
            ),
        ),
        ("tests/faults/test_crash_points.py::test_killed_at_any_point_it_ends_once_and_leaves_nothing",),
    ),
    Guard(
        "one-restart",
        "R3",
        "What storage was denied for is started once more, and not again and again.",
        (
            Edit(
                _STEPS,
                "if conversion.denied_at is not None or self._is_linked():",
                "if self._is_linked():",
            ),
        ),
        ("tests/faults/test_denied.py::test_a_job_whose_inputs_were_refused_is_one_restart",),
    ),
    Guard(
        "restart-with-an-id-of-its-own",
        "R3, R5",
        "What is started once more has another id, and so another key and folder.",
        (
            Edit(
                "shared/conversion.py",
                '            "id": secrets.token_hex(16),\n            **self.left_behind,\n',
                "",
            ),
        ),
        ("tests/faults/test_denied.py::test_the_second_order_keeps_the_deadline_and_brings_other_tokens",),
    ),
    Guard(
        "throttled",
        "",
        "A 429 slows the service down, not one conversion only.",
        (Edit(_STEPS, "        if wait > 0:\n", "        if False:\n"),),
        (f"{_SERVICES}::test_a_429_holds_back_every_conversion_of_the_service",),
    ),
    Guard(
        "checksum-api2convert",
        "R6",
        "An output with another checksum than api2convert stated is fetched again.",
        (
            Edit(
                _API2CONVERT,
                "isinstance(checksum, str) and _MD5.fullmatch(checksum) and checksum.lower() != written.md5",
                "False",
            ),
        ),
        ("tests/clients/test_api2convert.py::test_a_service_at_fault_ends_in_a_manifest[another output]",),
    ),
    Guard(
        "size-api2convert",
        "R6",
        "An output of another size than api2convert stated is fetched again.",
        (Edit(_API2CONVERT, "if isinstance(size, int) and size != written.size:", "if False:"),),
        ("tests/clients/test_api2convert.py::test_a_service_at_fault_ends_in_a_manifest[half an output]",),
    ),
    Guard(
        "hash-model-derivative",
        "R6",
        "A file with another hash than Model Derivative stated is fetched again.",
        (
            Edit(
                "shared/clients/model_derivative_download.py",
                "elif signed.sha256 is not None and signed.sha256 != written.sha256:",
                "elif False:",
            ),
        ),
        ("tests/clients/test_model_derivative_results.py::test_a_file_other_than_stated_is_fetched_again",),
    ),
    Guard(
        "size-model-derivative",
        "R6",
        "A file of another size than Model Derivative stated is fetched again.",
        (
            Edit(
                "shared/clients/model_derivative_download.py",
                "if signed.size is not None and signed.size not in sizes:",
                "if False:",
            ),
        ),
        ("tests/clients/test_model_derivative_results.py::test_a_file_other_than_stated_is_fetched_again",),
    ),
    Guard(
        "callback-token",
        "",
        "A callback without its token moves nothing.",
        (
            Edit(
                _CALLBACKS,
                "if not hmac.compare_digest(self._mac(record, conversion_id).encode(), mac.encode()):",
                "if False:",
            ),
        ),
        (f"{_HTTP}::test_a_forged_callback_is_not_found_and_does_nothing",),
    ),
    Guard(
        "webhook-signature",
        "",
        "A webhook's delivery without its signature moves nothing.",
        (Edit("shared/clients/model_derivative_webhook.py", "return any(matches)", "return True"),),
        (f"{_TRANSLATED}::test_a_forged_delivery_moves_nothing",),
    ),
    Guard(
        "callback-of-its-own",
        "",
        "A callback moves only the conversion that it was made for.",
        (
            Edit(
                _LIFECYCLE,
                "if held.conversion.id == moved and held.conversion.step is Step.POLL:",
                "if moved and held.conversion.step is Step.POLL:",
            ),
        ),
        (f"{_HTTP}::test_a_callback_of_a_superseded_conversion_leaves_the_new_one_alone",),
    ),
    Guard(
        "callback-polls-only",
        "",
        "A callback makes nothing due but a poll.",
        (
            Edit(
                _LIFECYCLE,
                "if held.conversion.id == moved and held.conversion.step is Step.POLL:",
                "if held.conversion.id == moved:",
            ),
        ),
        (f"{_HTTP}::test_a_callback_before_the_starts_reply_starts_nothing_twice",),
    ),
    Guard(
        "worker-claim",
        "",
        "A second message about a running request is dropped.",
        (
            Edit(
                _REQUESTS,
                "if running is not None and running.until > now and running.message != message:",
                "if False:",
            ),
        ),
        (f"{_WORKER}::test_duplicate_messages_convert_once",),
    ),
    Guard(
        "worker-cas",
        "",
        "Every change of a request is a compare-and-swap.",
        (
            Edit(
                _REQUESTS,
                "replace(\n                self._container, name, _dump(record), etag, metadata=",
                "put(\n                self._container, name, _dump(record), metadata=",
            ),
        ),
        (f"{_REQUESTED}::test_a_delivery_that_was_slow_between_its_look_and_its_claim_gets_nothing",),
    ),
    Guard(
        "worker-own-end",
        "",
        "Only the run that holds the request ends it.",
        (
            Edit(
                _REQUESTS,
                "if found is None or found[0].claim is None or found[0].claim.token != held.token:",
                "if found is None:",
            ),
        ),
        (f"{_REQUESTED}::test_the_same_message_again_takes_over_from_its_dead_run",),
    ),
    Guard(
        "worker-own-rev",
        "R4",
        "A refused change of a request that is already there is our own.",
        (Edit(_REQUESTS, "if found is not None and found[0].rev == record.rev:", "if False:"),),
        (f"{_REQUESTED}::test_a_change_whose_reply_was_lost_is_known_as_ours",),
    ),
    Guard(
        "worker-third-dequeue",
        "R8",
        "The third dequeue of a request fails it before it is tried.",
        (Edit("shared/embedded/worker.py", "if held.record.tries > _MOST_TRIES:", "if False:"),),
        (f"{_WORKER}::test_a_conversion_that_killed_its_worker_twice_is_not_tried_again",),
    ),
    Guard(
        "worker-message-lost",
        "",
        "A poll of a request that has not started enqueues it again.",
        (Edit(_REQUESTS, "        if self._is_stale(record):\n", "        if False:\n"),),
        (f"{_REQUESTED}::test_a_poll_enqueues_what_has_not_started_for_a_minute_and_then_less_often",),
    ),
    Guard(
        "secrets-redacted",
        "",
        "What a service says is repeated without secrets.",
        (Edit(_TRANSPORT, 'said = f": {redacted(said, secrets)}"', 'said = f": {said}"'),),
        (f"{_SECRETS}::test_a_service_that_repeats_secrets_in_its_errors",),
    ),
    Guard(
        "secrets-in-a-failure",
        "",
        "A conversion's failure is told without the secrets in it.",
        (
            Edit(
                _REMOTE_RENDERING,
                'message=redacted(message or "The service gave no reason.")',
                'message=(message or "The service gave no reason.")',
            ),
        ),
        (f"{_SECRETS}::test_a_failure_that_quotes_an_address_with_its_sas",),
    ),
    Guard(
        "secrets-erased",
        "",
        "A request's SAS is erased at its end.",
        (
            Edit(
                _REQUESTS,
                "                request=record.request.without_secrets(),\n",
                "",
            ),
        ),
        (f"{_SECRETS}::test_a_conversion_that_succeeds_tells_nothing_and_keeps_nothing",),
    ),
    Guard(
        "secrets-in-exceptions",
        "",
        "What httpx raises is told without the address.",
        (
            Edit(
                _TRANSPORT,
                'what = "has no address: the name is unknown" if unresolved else "cannot be reached"',
                'what = f"cannot be reached: {error}"',
            ),
        ),
        (f"{_SECRETS}::test_a_network_whose_exceptions_quote_everything",),
    ),
    Guard(
        "secrets-in-bugs",
        "",
        "Of a bug, its kind and place are told, not its text.",
        (
            Edit(
                "shared/embedded/worker.py",
                "bug=type(bug).__name__, where=where(bug))",
                "bug=str(bug), where=where(bug))",
            ),
        ),
        (f"{_SECRETS}::test_bugs_that_quote_secrets",),
    ),
    Guard(
        "secrets-in-addresses",
        "",
        "Of a bug behind an address, the route is told: a callback's address ends with its code.",
        (
            Edit(
                "shared/embedded/api/app.py",
                'route=getattr(scope.get("route"), "path", None),',
                'route=scope["path"],',
            ),
        ),
        (f"{_SECRETS}::test_a_callback_that_fails_tells_its_route_and_not_its_code",),
    ),
    Guard(
        "quiet-platform",
        "",
        "The platform's own log of replies is off.",
        (Edit("shared/telemetry.py", "    logging.getLogger().addFilter(_is_no_detail)\n", ""),),
        (f"{_SECRETS}::test_the_platforms_own_log_of_replies_is_off",),
    ),
    Guard(
        "quiet-loggers",
        "",
        "Libraries that log whole addresses are silenced.",
        (
            Edit(
                "shared/telemetry.py",
                "        logging.getLogger(name).setLevel(logging.WARNING)\n",
                "        pass\n",
            ),
        ),
        (f"{_SECRETS}::test_a_conversion_that_succeeds_tells_nothing_and_keeps_nothing",),
    ),
    Guard(
        "restart-once",
        "",
        "What storage refused is started anew once.",
        (Edit(_STEPS, "conversion.denied_at is not None or self._is_linked()", "self._is_linked()"),),
        ("tests/faults/test_denied.py",),
    ),
    Guard(
        "every-type",
        "",
        "Success without an output of each type that was ordered is none.",
        (Edit(_STEPS, "wanted = [item.type for item in self.conversion.settings.formats]", "wanted = []"),),
        ("tests/faults/test_missing_outputs.py",),
    ),
)
