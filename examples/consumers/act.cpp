// A policy on a robot, in C++ with torch's library alone: ./act policy.pt2 < episode.txt
//
// policy.pt2 comes from `offline-agents export format=aoti`. A line of the episode holds the numbers of a step's
// observation, in the order of the contract, and, if the policy takes it, the reward of the step before. Each action is
// printed as a line of JSON.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <iostream>
#include <sstream>

struct Input {  // a line of the file's metadata "inputs": name, type, value at the first step of an episode, shape
  std::string name;
  bool remembered;
  at::Tensor value;  // [1, ...]
};

Input read(const std::string& line) {
  std::istringstream words(line);
  std::string name, type;
  double reset;
  words >> name >> type >> reset;
  std::vector<int64_t> shape{1};
  for (int64_t size; words >> size;) shape.push_back(size);
  return {name, name.rfind("memory.", 0) == 0, at::full(shape, reset, type == "int64" ? at::kLong : at::kFloat)};
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " policy.pt2 < episode.txt\n";
    return 2;
  }
  c10::InferenceMode inference;
  at::set_num_threads(1);
  torch::inductor::AOTIModelPackageLoader policy(argv[1]);
  std::istringstream lines(policy.get_metadata().at("inputs"));
  std::vector<Input> inputs;
  for (std::string line; std::getline(lines, line);) inputs.push_back(read(line));

  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream numbers(line);
    std::vector<at::Tensor> tensors;
    for (auto& input : inputs) {
      if (!input.remembered) {
        std::vector<double> values(input.value.numel());
        for (auto& value : values) numbers >> value;
        input.value = at::tensor(values).reshape(input.value.sizes()).to(input.value.dtype());
      }
      tensors.push_back(input.value);
    }
    if (!numbers) {
      std::cerr << "a step needs more numbers than there are in: " << line << "\n";
      return 2;
    }
    auto outputs = policy.run(tensors);  // the action, then what is remembered, in the order of the inputs
    size_t next = 1;
    for (auto& input : inputs)
      if (input.remembered) input.value = outputs[next++];
    auto action = outputs[0].to(at::kDouble).flatten();
    std::cout.precision(9);
    for (int64_t i = 0; i < action.numel(); ++i) std::cout << (i ? ", " : "[") << action[i].item<double>();
    std::cout << "]\n";
  }
}
