#!/bin/bash
#SBATCH --job-name=thor
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
# A Ray cluster for the time of one run, on Slurm. With the environment activated, on storage that all nodes share:
#   sbatch deploy/cluster/slurm.sh thor-7b /shared/runs/first --set rl.rounds=5
# Five minutes before its time is over the run is asked to end. The same command goes on with it.
set -euo pipefail
recipe=${1:?give a recipe}
run_dir=${2:?give a run directory on shared storage}
shift 2

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
head_ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
export RAY_ADDRESS=$head_ip:${RAY_PORT:-6379}
# A token for this job alone: other users of the node are kept out.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" \
    ray start --head --block --node-ip-address="$head_ip" --port="${RAY_ADDRESS##*:}" &
# The head has to answer before the others knock.
for _ in $(seq "${START_TRIES:-60}"); do
    if ray status >/dev/null 2>&1; then break; fi
    sleep 2
done
if ((${#nodes[@]} > 1)); then
    others=$((${#nodes[@]} - 1))
    srun --nodes="$others" --ntasks="$others" --overlap --exclude="$head" ray start --block --address="$RAY_ADDRESS" &
fi
# Ray counts a node when it has joined; the run itself waits for nobody.
for _ in $(seq "${START_TRIES:-60}"); do
    if [[ $(ray list nodes --filter state=ALIVE --limit 1000 2>/dev/null | grep -c ALIVE) -ge ${#nodes[@]} ]]; then break; fi
    sleep 2
done

run=
trap '[[ -z $run ]] || kill -TERM "$run"' TERM
python -m thor_ray.cli.job train "$recipe" --run-dir "$run_dir" "$@" &
run=$!
status=0
wait "$run" || status=$?
# A signal ends the first wait; the run is then given the time to end in order.
if kill -0 "$run" 2>/dev/null; then
    status=0
    wait "$run" || status=$?
fi
exit "$status"
