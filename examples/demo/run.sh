#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The whole way on real images of 2D and 3D: look at them, pre-train a tokenizer and a transformer, classify, embed, look at the
# pictures. About five minutes on two cores. Usage: run.sh [OUTPUT]; PUMIT_BIN is the programs' folder, DEMO_PERCENT shortens the runs.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=${PUMIT_BIN:-build/bin}
out=${1:-build/demo}
data=$here/data
config=$here/../configs/tiny.json
percent=${DEMO_PERCENT:-100}
archive=$data/breastmnist.npz
scan=$data/ct/abdomen_ct.nii.gz
began=$(date +%s)
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" # waiting threads that spin are slow where other programs run beside

[ -x "$bin/pumit-info" ] || { echo "demo: $bin/pumit-info is missing: run make first, or set PUMIT_BIN" >&2; exit 1; }
for run in tokenizer vit pretrained scratch; do rm -rf "${out:?}/$run"; done
mkdir -p "$out"

title() { printf '\n== %s (%s s so far)\n' "$1" $(($(date +%s) - began)); }
steps() { echo $(($1 * percent / 100 > 4 ? $1 * percent / 100 : 4)); }

# The number under "KEY" in a JSON file; the first one, rounded.
number() { sed -n "s/.*\"$2\":[[:space:]]*\([-+.0-9eE]*\).*/\1/p" "$1" | head -n 1 | awk -v f="$3" '{ printf f, $1 }'; }

title "Images: one set of weights reads all of them"
"$bin/pumit-info" "$data/hippocampus/hippocampus_003.nii.gz" "$scan" "$data/spine/t2s.nii.gz" "$data/spine/mt0.nii.gz" \
    "$data/pathology/CMU-1-tile_r1_c1.png" "$data/blood/BloodImage_00000.jpg" "$archive"

title "Pre-training a tokenizer"
"$bin/pumit-pretrain-tokenizer" --config "$config" --steps "$(steps 2500)" --output "$out/tokenizer" --json \
    "$here/pretrain.txt" > "$out/tokenizer.json"

title "Pre-training a transformer on its tokens"
"$bin/pumit-pretrain-vit" --config "$config" --steps "$(steps 1500)" --tokenizer "$out/tokenizer/model.safetensors" \
    --output "$out/vit" --json "$here/pretrain.txt" > "$out/vit.json"

title "Fine-tuning a classifier, from the pre-trained transformer"
"$bin/pumit-finetune-classify" --config "$config" --steps "$(steps 500)" --init "$out/vit/model.safetensors" \
    --output "$out/pretrained" --json "$archive" > "$out/pretrained.json"

title "The same from scratch"
"$bin/pumit-finetune-classify" --config "$config" --steps "$(steps 500)" --output "$out/scratch" --json \
    "$archive" > "$out/scratch.json"

title "The test split, once for each"
for run in pretrained scratch; do
    "$bin/pumit-classify" --json --split test "$out/$run/model.safetensors" "$archive" > "$out/$run-test.json"
done

title "Embedding a CT scan; pictures"
"$bin/pumit-embed" --output "$out/embeddings.csv" "$out/vit/model.safetensors" "$scan" "$data/spine/t2s.nii.gz"
cut -d, -f 2-10 "$out/embeddings.csv" | sed 's/$/,.../'
for image in spine/t2s.nii.gz pathology/CMU-1-tile_r1_c1.png blood/BloodImage_00000.jpg; do
    name=$(basename "$image" | sed 's/[.].*//')
    "$bin/pumit-reconstruct" "$out/tokenizer/model.safetensors" "$data/$image" --vit "$out/vit/model.safetensors" \
        --max-tokens 3000 --output "$out/$name.png"
done

title "What came out"
t=$out/tokenizer.json v=$out/vit.json
printf 'tokenizer    loss %s -> %s, PSNR %s dB, %s of %s codes used, perplexity %s\n' "$(number "$t" mean_first_loss %.3f)" \
    "$(number "$t" mean_last_loss %.3f)" "$(number "$t" psnr %.1f)" "$(number "$t" codes_used %d)" "$(number "$t" codes %d)" \
    "$(number "$t" perplexity %.0f)"
printf 'transformer  loss %s -> %s\n' "$(number "$v" mean_first_loss %.3f)" "$(number "$v" mean_last_loss %.3f)"
printf 'classifier   %-12s %8s %9s\n' '' AUC accuracy
for run in pretrained scratch; do
    printf '             %-12s %8s %9s   (test: %s images)\n' "$run" "$(number "$out/$run-test.json" auc %.3f)" \
        "$(number "$out/$run-test.json" accuracy %.3f)" "$(number "$out/$run-test.json" count %d)"
done
printf 'pictures     %s\n' "$out"/*.png "$out"/tokenizer/sheets/*.png "$out"/vit/sheets/*.png
printf 'embeddings   %s\n' "$out/embeddings.csv"
printf 'in all       %s s\n' $(($(date +%s) - began))
