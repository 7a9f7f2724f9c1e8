#!/bin/sh
# The second pass, after the code is deployed: brings the events of models to the blob trigger. It may run again at
# any time. The variables are outputs of main.bicep: azd sets them, docs/deploy.md says how to do so without it.
# The key in the subscription's address stays in Resource Manager; see events.bicep.
set -eu
cd "$(dirname "$0")/../.."

: "${RESOURCE_GROUP:?}" "${FUNCTION_APP_NAME:?}" "${SYSTEM_TOPIC_NAME:?}" "${DATA_ACCOUNT_NAME:?}"
: "${MODELS_CONTAINER:?}" "${DEAD_LETTER_CONTAINER:?}"

command -v az >/dev/null 2>&1 || {
    echo "The Azure CLI (az) is needed for the event subscription." >&2
    exit 1
}

# The key is made when the host first loads the code, and Event Grid calls the app to see that it is there:
# both may take some minutes after a deployment.
tries=10
while :; do
    if said=$(az deployment group create --resource-group "$RESOURCE_GROUP" --name events \
        --template-file infra/events.bicep --only-show-errors --output none \
        --parameters appName="$FUNCTION_APP_NAME" topicName="$SYSTEM_TOPIC_NAME" \
        dataAccountName="$DATA_ACCOUNT_NAME" modelsContainer="$MODELS_CONTAINER" \
        deadLetterContainer="$DEAD_LETTER_CONTAINER" 2>&1); then
        echo "Models in $DATA_ACCOUNT_NAME/$MODELS_CONTAINER are converted from now on."
        exit 0
    fi
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
        # An error may quote the address.
        printf '%s\n' "$said" | sed 's/code=[^&" ]*/code=…/g' >&2
        echo "The event subscription was not made. Is $FUNCTION_APP_NAME running? Then run this again." >&2
        exit 1
    fi
    echo "The function app is not ready for events; trying again in 30 s."
    sleep "${SUBSCRIBE_WAIT_SECONDS:-30}"
done
